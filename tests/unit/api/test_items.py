"""A row as the API shows it."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import orjson
import pytest

from api.items import Item, item_of
from schemas.records import Signal

ID = UUID("019a0000-0000-7000-8000-00000000000a")
NOON = datetime(2026, 3, 14, 12, 0, 0, 120_000, tzinfo=UTC)
EXTRA = {
    "timestamp",
    "created_at",
    "result",
    "profit_loss",
    "notes",
    "disposition",
    "screenshot_status",
    "screenshot_reason",
    "screenshot_warning",
    "screenshot_url",
    "screenshot_expired",
}
NULLABLE = (
    "indicator",
    "signal_type",
    "direction",
    "ticker",
    "exchange",
    "symbol",
    "price",
    "interval",
    "bar_time",
    "triggered_at",
    "chart_id",
    "replay_id",
    "profit_loss",
    "notes",
    "screenshot_reason",
    "screenshot_warning",
    "screenshot_key",
    "source_indicator_file",
)


def row(**changes: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(NULLABLE),
        "id": ID,
        "user_id": ID,
        "plan": "free",
        "timestamp": NOON,
        "created_at": NOON,
        "delayed": False,
        "fields": {},
        "message": "",
        "parse_status": "unparsed",
        "warnings": [],
        "source_format": "free_text",
        "parse_revision": 1,
        "lane": "main",
        "disposition": "stored",
        "result": "pending",
        "screenshot_status": "skipped",
        **changes,
    }


def shown(**changes: Any) -> Item:
    return item_of(row(**changes), lambda key: f"link to {key}")


def test_every_field_of_a_signal_is_there_and_null_when_empty() -> None:
    """An item has all fields of the record by name and the store's own, whatever the row lacks."""
    item = shown()
    assert set(item) == names() | EXTRA
    assert (item["price"], item["bar_time"], item["replay_id"], item["profit_loss"]) == (
        None,
        None,
        None,
        None,
    )
    assert item["source"] == {"format": "free_text", "indicator_file": None, "parse_revision": 1}
    orjson.dumps(item)


def names() -> set[str]:
    return {field.name for field in msgspec.structs.fields(Signal)}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1E-12", "0.000000000001"),
        ("1E+5", "100000"),
        ("67890.50", "67890.50"),
        ("-0.1", "-0.1"),
        (
            "12345678901234567890123456789012345678.123456789",
            "12345678901234567890123456789012345678.123456789",
        ),
    ],
)
def test_decimals_are_exact_and_have_no_exponent(value: str, text: str) -> None:
    """Prices and results come out digit by digit as they were stored."""
    item = shown(price=Decimal(value), profit_loss=Decimal(value))
    assert (item["price"], item["profit_loss"]) == (text, text)


def test_times_are_utc_with_z() -> None:
    """The receive time has milliseconds, the sender's times the precision they were sent with."""
    madrid = timezone(timedelta(hours=1))
    item = shown(bar_time=NOON.replace(microsecond=0), triggered_at=NOON.astimezone(madrid))
    assert (item["timestamp"], item["received_at"]) == ("2026-03-14T12:00:00.120Z",) * 2
    assert (item["bar_time"], item["triggered_at"]) == ("2026-03-14T12:00:00Z", "2026-03-14T12:00:00.120000Z")


@pytest.mark.parametrize("status", ["pending", "processing", "failed", "skipped"])
def test_only_a_completed_screenshot_has_a_link(status: str) -> None:
    """The picture of an earlier try is not shown as the result of a later one."""
    assert shown(screenshot_status="completed", screenshot_key="a.png")["screenshot_url"] == "link to a.png"
    assert shown(screenshot_status=status, screenshot_key="a.png")["screenshot_url"] is None
    assert shown(screenshot_status="completed")["screenshot_url"] is None


def test_a_picture_that_is_no_longer_kept_is_told_apart_from_none() -> None:
    """Past its retention, or deleted with its row: no link, but `screenshot_expired`."""
    kept = item_of(row(screenshot_status="completed", screenshot_key="a.png"), lambda key: key)
    past = item_of(row(screenshot_status="completed", screenshot_key="a.png"), lambda _key: None)
    deleted, skipped = shown(screenshot_status="completed"), shown()
    told = [(item["screenshot_url"], item["screenshot_expired"]) for item in (kept, past, deleted, skipped)]
    assert told == [("a.png", False), (None, True), (None, True), (None, False)]
