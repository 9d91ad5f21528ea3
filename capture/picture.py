"""Checks of a picture before it counts. CPU only: call from a thread."""

import io
from typing import Final

from PIL import Image

from capture.outcomes import CaptureFailedError, Outcome

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# Chunks that change what is seen; everything else only tells about who made the picture, and when.
_KEPT: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"IDAT", b"IEND"})
_STEP: Final = 4
_ONE_SHADE_MAX: Final = 0.998


Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


def checked_picture(png: bytes, width_px: int, height_px: int, pane: Box | None = None) -> bytes:
    """The picture without metadata. `pane` is where the chart must be: a frame around nothing is no picture.

    Raises `CaptureFailedError` (`blank_picture`) when it cannot be right.
    """
    try:
        with Image.open(io.BytesIO(png)) as image:
            if image.format != "PNG" or image.size != (width_px, height_px):
                raise CaptureFailedError(Outcome.BLANK_PICTURE, f"{image.format} of {image.size}")
            if _is_blank(image, (0, 0, width_px, height_px)) or (pane and _is_blank(image, pane)):
                raise CaptureFailedError(Outcome.BLANK_PICTURE, "one shade")
        return without_metadata(png)
    except (OSError, SyntaxError, ValueError) as error:
        raise CaptureFailedError(Outcome.BLANK_PICTURE, type(error).__name__) from error


def without_metadata(png: bytes) -> bytes:
    """The same pixels without text, time or Exif chunks; nothing is encoded again. Raises `ValueError`."""
    if not png.startswith(_SIGNATURE):
        raise ValueError("not a PNG")
    parts, at = [_SIGNATURE], len(_SIGNATURE)
    while at < len(png):
        # length, name, data, checksum
        end = at + 12 + int.from_bytes(png[at : at + 4])
        if end > len(png):
            raise ValueError("a chunk is cut off")
        if png[at + 4 : at + 8] in _KEPT:
            parts.append(png[at:end])
        at = end
    return b"".join(parts)


def _is_blank(image: Image.Image, box: Box) -> bool:
    left, top, right, bottom = box
    inside = (max(0, left), max(0, top), min(image.width, right), min(image.height, bottom))
    size = ((inside[2] - inside[0]) // _STEP, (inside[3] - inside[1]) // _STEP)
    if min(size) <= 0:
        return True
    shades = image.resize(size, Image.Resampling.NEAREST, inside).convert("L").histogram()
    return max(shades) >= _ONE_SHADE_MAX * sum(shades)
