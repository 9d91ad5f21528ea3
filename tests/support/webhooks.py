"""Webhooks as the processors get them, without a broker."""

from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final
from uuid import UUID

from processors.indicators import IndicatorBook, load_indicators
from processors.parse import parse_webhook
from processors.vocabulary import Vocabulary
from schemas.headers import WebhookMetadata
from schemas.plans import Plan
from schemas.records import Lane, Signal, Tenant

SIGNAL_ID = UUID("019cebc1-2345-7000-8000-000000000001")
RECEIVED_AT = datetime(2026, 3, 14, 9, 26, 53, 125_000, tzinfo=UTC)
TENANT = Tenant(
    user_id=UUID("019ceb00-0000-7000-8000-000000000002"),
    revision=3,
    plan=Plan.PRO,
    token_hashes=[],
    webhook_enabled=True,
    captures_enabled=True,
)


@cache
def shipped_book() -> IndicatorBook:
    return load_indicators(Path(str(resources.files("processors.indicators"))))


def vocabulary() -> Vocabulary:
    """The shipped general vocabulary."""
    return shipped_book().base


def parse(body: str | bytes, query: str = "", tenant: Tenant = TENANT) -> Signal:
    """Parse one body as the processors would. Text is sent as UTF-8."""
    data = body if isinstance(body, bytes) else body.encode()
    metadata = WebhookMetadata(
        SIGNAL_ID, RECEIVED_AT, "127.0.0.1", "agent", "text/plain", query, tenant.revision, len(data)
    )
    return parse_webhook(data, metadata, tenant, Lane.MAIN, shipped_book())


BODY_BYTES: Final = 256 * 1024
PIECES: Final = [
    "\n",
    "a\n",
    "a:\n",
    "a:b\n",
    "a=1;",
    "=",
    ":",
    ";",
    "\x00",
    " ",
    "\\",
    '"',
    "'",
    "“",
    "{",
    "[",
    "[],",
    '{"a":',
    '"a":1,',
    '"a":"b"',
    "BINANCE:BTC ",
    "AB:CD-",
    "PRECIO:X ",
    "token: ",
    'token:"',
    "token:[",
    "Token: a\n",
    "🟢",
    "🪙 a\n",
    "COMPRA VENTA ",
    "\u0301\u0323",
    "a\u0301",
    "a\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0323\u0323\u0323\u0323\u0323\u0323\u0323\u0323\u0323\u0323\u0323\u0323\u0323\u0323\u0323",
    "Ã±",
    "漢",
    "tradingview.com/chart/a ",
    "{{",
    "}}",
    "1,",
    "1.",
    "9",
    "Ticker: ",
    "Precio: 1",
    "\\ud83d",
    "1️⃣",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx:",
    "\u6f22\u0301",
    "😀",
    "0",
    "1 ",
    "A",
    "A-",
    "A:B-",
    "AB:C/",
    "(",
    "Señal: a\n",
    "token=",
    '"token":"a",',
    '\\"',
    '{"',
    '"a":',
    '{"a":1},',
    "pass:",
    "Ã",
    "é",
    "\r",
    "\u2028",
    "**",
    "chart/",
    "={",
    "x:y:",
    "=;",
    "a=1;b;",
    "Ã±Ã",
    " \xa0",
    "x\u200b",
    "AB:CD*",
    "1!",
    "{{a",
    "“token”:“",
    "token:{",
    "$",
    "COMPRA\n",
]
FRAMES: Final = [
    ("", ""),
    ("Ticker: ", ""),
    ("Precio: ", ""),
    ("Señal: ", ""),
    ("token: ", ""),
    ('{"message":"', '"}'),
    ('{"a":"', '"}'),
    ('{"price":[', "0]}"),
    ('{"a":', "}"),
]


def repeated(piece: str, frame: tuple[str, str], size_bytes: int = BODY_BYTES) -> bytes:
    """A body of a size, or a little less: one piece over and over inside a frame."""
    before, after = frame
    room = size_bytes - len(before.encode()) - len(after.encode())
    return (before + piece * (room // len(piece.encode())) + after).encode()
