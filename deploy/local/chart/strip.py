"""The painted strip, read back from a picture: what the page says it really drew.

Square cells of 4 CSS pixels, white for 1 and black for 0, in rows of 128 that start at the picture's bottom
left and grow upwards; 4 pixels margin. Bits most significant first: magic, length of the payload (2 bytes),
payload (JSON array of symbol, interval, user, last bar), CRC32 of length and payload.
`strip.js` paints it.
"""

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec
from PIL import Image

from runtime.errors import InvalidError

MAGIC: Final = bytes.fromhex("a55a3cc3")
CELL_PX: Final = 4
MARGIN_PX: Final = 4
COLUMNS: Final = 128
CAPACITY_BYTES: Final = 1400

# Pictures taken at a device scale factor have bigger cells.
_SCALES: Final = (1, 2, 3)
_BLACK_MOST: Final = 95
_WHITE_LEAST: Final = 160


@dataclass(frozen=True, slots=True)
class StripContent:
    """What the chart showed; `user` is None for the signed-out, `last_bar_ms` the last bar's start."""

    symbol: str
    interval: str
    user: str | None
    last_bar_ms: int


class StripError(InvalidError):
    """The picture tells nothing. Reasons: `picture_unreadable`, `strip_absent`, `strip_corrupt`."""


def decode(png: bytes) -> StripContent:
    """Read a picture of the whole viewport. CPU only. Raises `StripError`."""
    picture = _grey(png)
    for scale in _SCALES:
        cells = _bytes(_bits(picture, scale))
        if bytes(islice(cells, len(MAGIC))) == MAGIC:
            return _content(cells)
    raise StripError("strip_absent")


def _grey(png: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(png)) as picture:
            return picture.convert("L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise StripError("picture_unreadable", type(error).__name__) from error


def _content(cells: Iterator[int]) -> StripContent:
    head = bytes(islice(cells, 2))
    length = int.from_bytes(head)
    if length > CAPACITY_BYTES:
        raise StripError("strip_corrupt", "length")
    payload = bytes(islice(cells, length))
    if bytes(islice(cells, 4)) != zlib.crc32(head + payload).to_bytes(4):
        raise StripError("strip_corrupt", "checksum")
    try:
        return StripContent(*msgspec.json.decode(payload, type=tuple[str, str, str | None, int]))
    except msgspec.MsgspecError as error:
        raise StripError("strip_corrupt", "payload") from error


def _bytes(bits: Iterator[int]) -> Iterator[int]:
    while len(octet := list(islice(bits, 8))) == 8:  # noqa: PLR2004 - bits of a byte
        yield int("".join(map(str, octet)), 2)


def _bits(picture: Image.Image, scale: int) -> Iterator[int]:
    """Cells until the picture ends or one is neither black nor white."""
    pixels = picture.load()
    cell, margin = CELL_PX * scale, MARGIN_PX * scale
    if pixels is None or picture.width < margin + COLUMNS * cell:
        return
    for bottom in range(picture.height - margin, cell, -cell):
        for left in range(margin, margin + COLUMNS * cell, cell):
            grey = pixels[left + cell // 2, bottom - cell // 2]
            if not isinstance(grey, int) or _BLACK_MOST < grey < _WHITE_LEAST:
                return
            yield int(grey >= _WHITE_LEAST)
