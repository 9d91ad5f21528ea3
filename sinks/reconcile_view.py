"""The result of a reconciliation for people and for programs. Pure; line by line, whatever its length."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final
from uuid import UUID

import msgspec

from runtime.clock import utc_from_ms
from runtime.ids import received_at_of
from schemas.headers import rfc3339
from sinks.reconcile import HOUR_MS, Outcome, Window
from sinks.reconcile_ledger import HourTally, MissingAlert
from sinks.reconcile_spool import SpoolDepth

MISSING_SHOWN: Final = 100
_TENANT_CHARACTERS: Final = 36
_HOUR_CHARACTERS: Final = 17
_COUNT_CHARACTERS: Final = 8
_COLUMNS: Final = ("accepted", *(outcome.value for outcome in Outcome))


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found. `hours` and `missing` may be read once; `spools` is None when nobody asked."""

    window: Window
    hours: Iterable[HourTally]
    totals: Mapping[Outcome, int]
    missing: Iterable[MissingAlert]
    unreadable: int = 0
    spools: Sequence[SpoolDepth] | None = field(default=None)

    @property
    def gap(self) -> bool:
        return bool(self.totals.get(Outcome.MISSING))


def report_lines(report: Report) -> Iterator[str]:
    """The table, and what it does not hold."""
    yield _line("tenant", "hour", _COLUMNS)
    for tally in report.hours:
        yield _line(_shown_user(tally.user_id) or "-", _shown_hour(tally.hour), _counts(tally.alerts))
    yield _line("total", "", _counts(report.totals))
    yield from _missing_lines(report)
    if report.unreadable:
        yield f"{report.unreadable} webhooks without a readable id: not counted"
    yield from _spool_lines(report.spools)


def report_json(report: Report) -> Iterator[str]:
    """One JSON object, in pieces: there may be as many rows as there are tenants and hours."""
    head = {
        "from": _shown_ms(report.window.from_ms),
        "to": _shown_ms(report.window.to_ms),
        "user_id": _shown_user(report.window.user_id or b""),
        "gap": report.gap,
        "total": _named(report.totals),
        "unreadable": report.unreadable,
        "spools": report.spools,
    }
    yield _json(head)[:-1]
    yield from _json_list("hours", (_hour_object(tally) for tally in report.hours))
    yield from _json_list("missing", (_missing_object(alert) for alert in report.missing))
    yield "}\n"


def _missing_lines(report: Report) -> Iterator[str]:
    count = report.totals.get(Outcome.MISSING, 0)
    if not count:
        return
    yield ""
    yield f"{count} missing:"
    for alert in islice(report.missing, MISSING_SHOWN):
        tenant = _shown_user(alert.user_id) or "-"
        received = rfc3339(received_at_of(alert.signal_id))
        yield f"{alert.signal_id}  tenant {tenant}  received {received}  lost {alert.loss.value}"
    if count > MISSING_SHOWN:
        yield f"and {count - MISSING_SHOWN} more; --json names all"


def _spool_lines(spools: Sequence[SpoolDepth] | None) -> Iterator[str]:
    if spools is None:
        yield "spools were not looked at; --ingress URL shows what waits on an ingress's disk"
        return
    for spool in spools:
        yield (
            f"spool of {spool.url}: {spool.records} accepted and not on a topic yet"
            f" ({spool.size_bytes} bytes, the oldest for {spool.oldest_s:.0f} s)"
        )


def _line(tenant: str, hour: str, counts: Iterable[object]) -> str:
    cells = [
        str(count).rjust(max(_COUNT_CHARACTERS, len(column)))
        for column, count in zip(_COLUMNS, counts, strict=True)
    ]
    return "  ".join([tenant.ljust(_TENANT_CHARACTERS), hour.ljust(_HOUR_CHARACTERS), *cells])


def _counts(alerts: Mapping[Outcome, int]) -> list[int]:
    """Under the columns: all that were accepted first."""
    return [sum(alerts.values()), *(alerts.get(outcome, 0) for outcome in Outcome)]


def _named(alerts: Mapping[Outcome, int]) -> dict[str, int]:
    return dict(zip(_COLUMNS, _counts(alerts), strict=True))


def _hour_object(tally: HourTally) -> dict[str, Any]:
    return {
        "user_id": _shown_user(tally.user_id),
        "hour": _shown_ms(tally.hour * HOUR_MS),
        **_named(tally.alerts),
    }


def _missing_object(alert: MissingAlert) -> dict[str, Any]:
    return {
        "signal_id": alert.signal_id,
        "user_id": _shown_user(alert.user_id),
        "received_at": rfc3339(received_at_of(alert.signal_id)),
        "lost": alert.loss.value,
    }


def _json_list(name: str, objects: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield f',"{name}":['
    separator = ""
    for item in objects:
        yield separator + _json(item)
        separator = ","
    yield "]"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _shown_user(user_id: bytes) -> str | None:
    return str(UUID(bytes=user_id)) if user_id else None


def _shown_hour(hour: int) -> str:
    return f"{utc_from_ms(hour * HOUR_MS):%Y-%m-%dT%H:%MZ}"


def _shown_ms(unix_ms: int | None) -> str | None:
    return None if unix_ms is None else rfc3339(utc_from_ms(unix_ms))
