import re

from deploy.local.chart.states import RESERVED, Answer, Prank, state_of


def test_charts_are_private() -> None:
    """An ordinary chart is for the signed-in."""
    assert not state_of("abcd1234").anonymous


def test_public_charts_are_for_all() -> None:
    """Ids that start with `Public` load for the signed-out; the spelling counts."""
    assert state_of("Public01").anonymous
    assert not state_of("public01").anonymous


def test_heavy_charts_are_ordinary_but_for_their_weight() -> None:
    """Ids that start with `Heavy` load what the real site loads."""
    assert state_of("Heavy001").is_heavy
    assert not state_of("abcd1234").is_heavy


def test_every_state_has_an_address() -> None:
    """A reserved id is a chart id, and each answer and prank has one."""
    assert all(re.fullmatch("State[A-Za-z0-9]{1,27}", chart_id) for chart_id in RESERVED)
    assert {state.answer for state in RESERVED.values()} == set(Answer)
    assert {state.prank for state in RESERVED.values()} == {*Prank, None}
