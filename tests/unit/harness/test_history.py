"""The checker of the campaign finds every broken promise."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.harness.history import Ended, History, violations

GOOD = History(
    accepted={"a": 0, "b": 1, "c": 0, "poison": 1},
    effects=frozenset({"a", "b", "c"}),
    dead_letters=frozenset({"poison"}),
    began=["a", "b", "poison", "b", "c"],
    done=["a", "b", "b", "c"],
    committed={0: 2, 1: 2},
    ends={0: 2, 1: 2},
    endings=[Ended("one", 0), Ended("two", -9)],
    serial=True,
)


def test_a_history_with_repeats_dead_letters_and_kills_is_good() -> None:
    """At least once, with one outcome each, is what was promised."""
    assert violations(GOOD) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"effects": frozenset({"a", "b"})}, ["lost: c"]),
        ({"dead_letters": frozenset()}, ["lost: poison"]),
        ({"dead_letters": frozenset({"poison", "a"})}, ["both effect and dead letter: a"]),
        ({"began": ["a", "b", "c"]}, ["outcome without a delivery: poison"]),
        ({"done": ["a", "b"]}, ["effect that nobody did: c"]),
        ({"committed": {0: 2, 1: 1}}, ["partition 1: committed 1, end 2"]),
        ({"committed": {0: 2}}, ["partition 1: committed 0, end 2"]),
        ({"committed": {0: 3, 1: 2}}, ["partition 0: committed 3, end 2"]),
        ({"done": ["c", "a", "b"]}, ["out of order: a"]),
        ({"endings": [Ended("one", "hung")]}, ["hung: one"]),
    ],
)
def test_a_broken_promise_is_found(change: dict[str, Any], found: list[str]) -> None:
    """Each way to fail is named, and nothing else."""
    assert violations(replace(GOOD, **change)) == found


def test_an_effect_of_what_was_never_accepted_is_found() -> None:
    """An effect and a delivery do not make an event."""
    ghost = replace(GOOD, effects=GOOD.effects | {"x"}, began=[*GOOD.began, "x"], done=[*GOOD.done, "x"])
    assert violations(ghost) == ["invented: x"]


def test_order_binds_only_within_a_partition() -> None:
    """Events of different partitions may overtake each other."""
    assert violations(replace(GOOD, done=["b", "a", "c"])) == []


def test_a_late_repeat_is_no_disorder() -> None:
    """Only the first effect counts; a second delivery comes whenever it comes."""
    assert violations(replace(GOOD, done=["a", "b", "c", "a"])) == []


def test_order_is_not_asked_of_parallel_jobs() -> None:
    """Jobs of one partition end in any order."""
    assert violations(replace(GOOD, done=["c", "a", "b"], serial=False)) == []
