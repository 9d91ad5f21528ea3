"""Dead letters for people: lines of a table, JSON lines, and one in full. Pure.

What came from outside is escaped: a terminal obeys control characters. What stands behind a secret's name is
hidden; the raw value is for a file.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from runtime.deadletter_log import StoredLetter
from runtime.deadletter_postmark import UnreadableLetter, original_headers
from schemas.headers import rfc3339

HEADER: Final = ("place", "failed", "stage", "reason", "tenant", "bytes")
PREVIEW_CHARACTERS: Final = 4096
_CELL_CHARACTERS: Final = 80
_HEADER_CHARACTERS: Final = 512
_MASK: Final = "***"

_NAME: Final = r"(?:token|secret|pass[ _-]?(?:phrase|word))"
_SECRET_NAME: Final = re.compile(_NAME, re.IGNORECASE)
# Hides too much rather than too little: without quotes everything up to the end of the line.
_SECRET: Final = re.compile(
    rf"""({_NAME}\\*["'“”]?\s*[:=：＝]\s*)
    (?: \\*"(?:[^"\\]|\\.)* | '[^'\n]*+ | “[^”\n]*+ | [^\n&]*+ )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def table_row(letter: StoredLetter) -> tuple[str, ...]:
    """Cells under `HEADER`."""
    postmark = letter.postmark
    if isinstance(postmark, UnreadableLetter):
        stage, reason = "-", f"unreadable: {postmark.problem}"
    else:
        stage, reason = postmark.stage, postmark.reason
    cells = (
        str(letter.place),
        _shown_time(letter.failed_at),
        stage,
        reason,
        str(letter.user_id or "-"),
        str(len(letter.value)),
    )
    return tuple(escaped(cell)[:_CELL_CHARACTERS] for cell in cells)


def json_line(letter: StoredLetter) -> str:
    """One object, without the value: the postmark's fields, or the `problem` of an unreadable letter."""
    fields = {
        "place": str(letter.place),
        "user_id": letter.user_id,
        "size_bytes": len(letter.value),
        "failed_at": letter.failed_at,
        **msgspec.structs.asdict(letter.postmark),
    }
    return msgspec.json.encode(fields).decode()


def full_view(letter: StoredLetter) -> Iterator[str]:
    """The postmark, the headers of the original and a preview of its value, line by line."""
    fields: dict[str, object] = {
        "place": letter.place,
        "tenant": letter.user_id,
        "bytes": len(letter.value),
        "failed_at": letter.failed_at,
        **msgspec.structs.asdict(letter.postmark),
    }
    for name, value in fields.items():
        shown = _shown_time(value) if isinstance(value, datetime) else "-" if value is None else str(value)
        yield f"{name:14} {escaped(shown)}"
    yield ""
    for header, content in original_headers(letter.headers):
        hidden = _SECRET_NAME.search(header)
        shown = _MASK if hidden else _preview(content or b"", _HEADER_CHARACTERS)
        yield f"{escaped(header)}: {shown}"
    yield ""
    yield _preview(letter.value, PREVIEW_CHARACTERS)


def escaped(text: str, allowed: str = "") -> str:
    """What does not print, invisible and direction marks included, as Python writes it."""
    return "".join(
        letter if letter.isprintable() or letter in allowed else ascii(letter)[1:-1] for letter in text
    )


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as their longest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _preview(content: bytes, most: int) -> str:
    text = content.decode("utf-8", "replace")
    # hidden before it is cut: a cut quote would end in the middle of a secret
    shown = escaped(_SECRET.sub(rf"\1{_MASK}", text)[:most], "\n")
    return shown if len(text) <= most else f"{shown}… ({len(content)} bytes in all)"


def _shown_time(moment: datetime | None) -> str:
    return "-" if moment is None else rfc3339(moment)
