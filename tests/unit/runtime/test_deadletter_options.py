"""Times, places and selections as people write them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click
import pytest
from click.testing import CliRunner

from runtime.clock import SystemClock, utc_now
from runtime.deadletter_log import Place
from runtime.deadletter_options import MomentType, PlaceType, Selection, selecting


@pytest.mark.parametrize(
    "text", ["2026-03-14T09:30", "2026-03-14 09:30:00Z", "2026-03-14T10:30+01:00", "20260314T0930Z"]
)
def test_a_time_is_utc_unless_it_says_otherwise(text: str) -> None:
    """In ISO 8601."""
    assert MomentType().convert(text, None, None) == datetime(2026, 3, 14, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(("text", "hours"), [("7200s", 2), ("120m", 2), ("2h", 2), ("2d", 48)])
def test_an_age_counts_back_from_now(text: str, hours: int) -> None:
    """In seconds, minutes, hours or days."""
    before = utc_now(SystemClock())
    moment = MomentType().convert(text, None, None)
    assert before <= moment + timedelta(hours=hours) <= utc_now(SystemClock())


@pytest.mark.parametrize("text", ["", "soon", "-2h", "2w", "999999d", "2026-13-01", "٢h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """With an example of what is."""
    with pytest.raises(click.BadParameter, match="90m"):
        MomentType().convert(text, None, None)


def test_a_place_is_a_partition_and_an_offset() -> None:
    """As the list shows it."""
    assert PlaceType().convert("3:120", None, None) == Place(3, 120)
    for text in ("", "3", "3:", ":1", "-1:2", "1:2:3", "1:x"):
        with pytest.raises(click.BadParameter, match="PARTITION:OFFSET"):
            PlaceType().convert(text, None, None)


def select(words: Sequence[str]) -> tuple[int, str, list[Selection]]:
    seen: list[Selection] = []

    @click.command()
    @selecting(7)
    @click.option("--more")
    def command(selection: Selection, more: str | None) -> None:
        assert more is None
        seen.append(selection)

    result = CliRunner().invoke(command, words)
    return result.exit_code, result.output, seen


def test_options_make_a_selection() -> None:
    """Repeated ones add up, and those of the command stay its own."""
    words = "--reason a --reason b --stage s --topic t --since 2026-01-01 --until 2026-01-02 --from 1:2"
    code, _output, [selection] = select(words.split())
    assert (code, selection.first, selection.limit) == (0, Place(1, 2), 7)
    assert [sorted(selection.wanted.reasons), sorted(selection.wanted.topics)] == [["a", "b"], ["t"]]
    assert selection.wanted.until == datetime(2026, 1, 2, tzinfo=UTC)


def test_a_span_that_ends_before_it_begins_is_refused() -> None:
    """Rather than finding nothing."""
    code, output, seen = select(["--since", "1h", "--until", "2h"])
    assert (code, seen) == (2, [])
    assert "--since must be before --until" in output
