"""Other ways to bring the rows of a batch to the sink's own statement: arrays, or COPY and a staging table.

All else stays what `SignalStore` does: the statement is the sink's own with another source.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from runtime.postgres import Pool
from runtime.sql import load_queries
from schemas.records import Signal
from sinks import store
from sinks.store import AcceptedSignal, SignalStore

SOURCES: Final = load_queries("tests.bench", "store_sources.sql")
_INSERT: Final = store._QUERIES["insert_signals"]


class UnnestStore(SignalStore):
    """One array a column."""

    async def _fetch_inserted(self, items: Sequence[AcceptedSignal], now: datetime) -> Sequence[Any]:
        first, second, *others = columns_of([row_of(item) for item in items])
        rows: Sequence[Any] = await self._pool.fetch(_UNNEST, first, second, *_terms(now), *others)
        return rows


class CopyStore(SignalStore):
    """COPY into a table of the connection, then INSERT … SELECT."""

    async def _fetch_inserted(self, items: Sequence[AcceptedSignal], now: datetime) -> Sequence[Any]:
        records = [row_of(item) for item in items]
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(SOURCES["make_staging"])
            await connection.copy_records_to_table("staged", records=records)
            rows: Sequence[Any] = await connection.fetch(_COPY, None, None, *_terms(now))
            return rows


STORES: Final[Mapping[str, Callable[[Pool], SignalStore]]] = {
    "JSON (the sink's)": SignalStore,
    "unnest": UnnestStore,
    "COPY + INSERT": CopyStore,
}


def row_of(item: AcceptedSignal) -> tuple[object, ...]:
    call = item.call
    address = (call.client_address, call.user_agent, call.content_type, call.body_bytes, call.captures_wanted)
    return (*signal_row(item.signal), *address)


def signal_row(signal: Signal) -> tuple[object, ...]:
    """In the order of the columns of the staging table."""
    return (
        signal.signal_id,
        signal.user_id,
        signal.plan,
        signal.received_at,
        signal.indicator,
        signal.signal_type,
        signal.direction,
        signal.ticker,
        signal.exchange,
        signal.symbol,
        signal.delayed,
        signal.price,
        signal.interval,
        signal.bar_time,
        signal.triggered_at,
        signal.chart_id,
        msgspec.json.encode(signal.fields).decode(),
        signal.message,
        signal.parse_status,
        "{" + ",".join(signal.warnings) + "}",
        signal.source.format,
        signal.source.indicator_file,
        signal.source.parse_revision,
        signal.lane,
        signal.replay_id,
    )


def columns_of(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _terms(now: datetime) -> tuple[object, ...]:
    return store._PLANS, [now - kept for kept in store._KEPT], store._CAPTURE_WITHIN, now


def _statement(source: str) -> str:
    """The sink's own INSERT, reading from `source`."""
    rows = SOURCES["typed_rows"].replace("SOURCE", SOURCES[source])
    head, _, tail = _INSERT.partition("ROWS FROM (")
    _, found, tail = tail.partition(") AS r\n")
    statement = f"{head}{rows}\n{tail}"
    for member, column in [
        ("p.source ->> 'format'", "p.source_format"),
        ("p.source ->> 'indicator_file'", "p.source_indicator_file"),
        ("(p.source ->> 'parse_revision')::bigint", "p.parse_revision"),
    ]:
        if not found or member not in statement:
            raise AssertionError("the sink's statement has changed")
        statement = statement.replace(member, column)
    return statement


_UNNEST: Final = _statement("unnest_source")
_COPY: Final = _statement("copy_source")
