"""The ledger of one run: every accepted alert, on disk, since there may be more than memory holds."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Final, NamedTuple
from uuid import UUID

import apsw

from runtime.errors import TransientError
from runtime.sql import load_queries
from sinks.reconcile import HOUR_MS, Loss, Outcome, Trace, loss_of, received_ms_of

WAITING: Final = 1
ON_SIGNALS: Final = 2
BATCH_ALERTS: Final = 5_000

_SQL: Final = load_queries("sinks", "reconcile_ledger.sql")
_DISK_ERRORS: Final = (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.NoMemError)

Marked = tuple[bytes, bytes, int]
"""Signal id, user id, and any of the marks."""

Tried = tuple[bytes, str, int]
"""Signal id, topic, and how often the alert had been put back on it."""


class HourTally(NamedTuple):
    """Outcomes of one tenant's alerts of one hour. `hour` counts from 1970."""

    user_id: bytes
    hour: int
    alerts: Mapping[Outcome, int]


class MissingAlert(NamedTuple):
    """An accepted alert of which nothing is left."""

    signal_id: UUID
    user_id: bytes
    loss: Loss


class Ledger:
    """A temporary SQLite file without a name: it is gone with the process, however that ends.

    Blocking. Raises `TransientError` when the disk has no room for it.
    """

    def __init__(self) -> None:
        self._connection = apsw.Connection("")
        with _sorted_errors():
            self._connection.execute(_SQL["create"]).fetchall()

    def close(self) -> None:
        self._connection.close(True)

    def accept(self, records: Iterable[Marked]) -> None:
        """The same alert may come any number of times; marks add up."""
        self._execute_many("accept", records)

    def mark(self, records: Iterable[Marked]) -> None:
        """Alerts that were not accepted are left out."""
        self._execute_many("mark", ((signal_id, marks) for signal_id, _user_id, marks in records))

    def note_letters(self, letters: Iterable[Tried]) -> None:
        self._execute_many("letter", letters)

    def note_redriven(self, records: Iterable[Tried]) -> None:
        """A letter counts no longer once its topic holds a record put back more often than it says."""
        self._execute_many("redriven", records)

    def accepted(self) -> int:
        [(alerts,)] = self._rows("accepted")
        return int(alerts)

    def traces(self) -> Iterator[list[Trace]]:
        """Every accepted alert, in id order, in batches."""
        return self._batches("traces")

    def missing_traces(self) -> Iterator[list[Trace]]:
        """Those that were settled as missing."""
        return self._batches("missing_traces")

    def settle(self, outcomes: Sequence[tuple[Trace, Outcome]]) -> None:
        """Each alert once."""
        self._count(Counter(_cell(trace, outcome) for trace, outcome in outcomes))
        lost = [trace for trace, outcome in outcomes if outcome is Outcome.MISSING]
        self._execute_many("lose", ((trace.signal_id.bytes, loss_of(trace).value) for trace in lost))

    def settle_again(self, outcomes: Sequence[tuple[Trace, Outcome]]) -> None:
        """What was missing has another outcome now, or is lost at a place that is known better."""
        changes: Counter[tuple[bytes, int, str]] = Counter()
        for trace, outcome in outcomes:
            changes[_cell(trace, Outcome.MISSING)] -= 1
            changes[_cell(trace, outcome)] += 1
        self._count(changes)
        found = [trace for trace, outcome in outcomes if outcome is not Outcome.MISSING]
        lost = [trace for trace, outcome in outcomes if outcome is Outcome.MISSING]
        self._execute_many("find", ((trace.signal_id.bytes,) for trace in found))
        self._execute_many("lose", ((trace.signal_id.bytes, loss_of(trace).value) for trace in lost))

    def tally(self) -> Iterator[HourTally]:
        """By tenant, then by hour."""
        rows = self._connection.execute(_SQL["tally"])
        for (user_id, hour), cells in groupby(rows, lambda row: row[:2]):
            yield HourTally(user_id, hour, {Outcome(cell[2]): cell[3] for cell in cells})

    def totals(self) -> dict[Outcome, int]:
        return {Outcome(outcome): alerts for outcome, alerts in self._rows("totals")}

    def missing(self, limit: int = -1) -> Iterator[MissingAlert]:
        """In id order; all without a limit."""
        for signal_id, user_id, loss in self._connection.execute(_SQL["missing"], (limit,)):
            yield MissingAlert(UUID(bytes=signal_id), user_id, Loss(loss))

    def _batches(self, query: str) -> Iterator[list[Trace]]:
        after = b""
        while rows := self._rows(query, after, BATCH_ALERTS):
            after = rows[-1][0]
            yield [_trace(*row) for row in rows]

    def _count(self, cells: Mapping[tuple[bytes, int, str], int]) -> None:
        self._execute_many("count", ((*cell, alerts) for cell, alerts in cells.items()))

    def _execute_many(self, query: str, rows: Iterable[Sequence[Any]]) -> None:
        with _sorted_errors():
            self._connection.executemany(_SQL[query], rows)

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with _sorted_errors():
            return self._connection.execute(_SQL[query], values).fetchall()


def _trace(signal_id: bytes, user_id: bytes, marks: int, dead: int) -> Trace:
    return Trace(UUID(bytes=signal_id), user_id, bool(marks & WAITING), bool(marks & ON_SIGNALS), bool(dead))


def _cell(trace: Trace, outcome: Outcome) -> tuple[bytes, int, str]:
    return trace.user_id, received_ms_of(trace.signal_id.bytes) // HOUR_MS, outcome.value


@contextmanager
def _sorted_errors() -> Iterator[None]:
    try:
        yield
    except _DISK_ERRORS as error:
        detail = f"no room for the ledger ({type(error).__name__}); TMPDIR names a folder with more"
        raise TransientError(detail) from error
