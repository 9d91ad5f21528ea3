"""A row of `signals` as the API shows it."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from schemas.headers import rfc3339
from schemas.records import ScreenshotStatus

# Shown as the row has them. UUIDs, times and decimals are not among them.
_PLAIN: Final = (
    "plan",
    "indicator",
    "signal_type",
    "direction",
    "ticker",
    "exchange",
    "symbol",
    "delayed",
    "interval",
    "chart_id",
    "fields",
    "message",
    "parse_status",
    "warnings",
    "lane",
    "disposition",
    "result",
    "notes",
    "screenshot_status",
    "screenshot_reason",
    "screenshot_warning",
)

Item = dict[str, object]


def item_of(row: Mapping[str, Any], link: Callable[[str], str | None]) -> Item:
    """The `Signal` fields by name and what became of the signal since. Nothing absent: null instead.

    `link` turns a picture's key into a URL, or into None when the picture is no longer kept.
    """
    url = _screenshot_url(row, link)
    plain = {name: row[name] for name in _PLAIN}
    return {
        "signal_id": str(row["id"]),
        "user_id": str(row["user_id"]),
        **plain,
        "received_at": rfc3339(row["timestamp"]),
        "timestamp": rfc3339(row["timestamp"]),
        "created_at": rfc3339(row["created_at"]),
        "bar_time": _time(row["bar_time"]),
        "triggered_at": _time(row["triggered_at"]),
        "price": _decimal(row["price"]),
        "profit_loss": _decimal(row["profit_loss"]),
        "source": {
            "format": row["source_format"],
            "indicator_file": row["source_indicator_file"],
            "parse_revision": row["parse_revision"],
        },
        "replay_id": None if row["replay_id"] is None else str(row["replay_id"]),
        "screenshot_url": url,
        "screenshot_expired": row["screenshot_status"] == ScreenshotStatus.COMPLETED and url is None,
    }


def _screenshot_url(row: Mapping[str, Any], link: Callable[[str], str | None]) -> str | None:
    completed = row["screenshot_status"] == ScreenshotStatus.COMPLETED
    key = row["screenshot_key"]
    return link(key) if completed and key is not None else None


def _decimal(value: Decimal | None) -> str | None:
    # str() would show an exponent
    return None if value is None else format(value, "f")


def _time(value: datetime | None) -> str | None:
    """RFC 3339 in UTC, as precise as it was sent."""
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")
