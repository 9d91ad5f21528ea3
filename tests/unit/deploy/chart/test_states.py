from deploy.local.chart.states import state_of


def test_charts_are_private() -> None:
    """An ordinary chart is for the signed-in."""
    assert not state_of("abcd1234").anonymous


def test_public_charts_are_for_all() -> None:
    """Ids that start with `Public` load for the signed-out; the spelling counts."""
    assert state_of("Public01").anonymous
    assert not state_of("public01").anonymous
