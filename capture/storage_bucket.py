"""Pictures in a bucket."""

import errno
import io
from collections.abc import Mapping
from typing import Final

from PIL import Image

from runtime.clock import utc_from_ms
from runtime.pictures import LONGEST_KEPT_DAYS
from runtime.s3 import Bucket, NewObject
from schemas.records import Picture

# written once: what is cached never changes
_CACHE_CONTROL: Final = f"private, max-age={LONGEST_KEPT_DAYS * 24 * 3600}, immutable"
_WIDTH: Final = "width-px"
_HEIGHT: Final = "height-px"
_TAKEN: Final = "taken-at-ms"
_NEVER_THERE: Final = "ready"


class PictureBucket:
    """Pictures as objects. Measures and time are in the metadata, so that `find` reads no body.

    Raises `OSError`, of the kind `BucketError` for all that the store does.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def check(self) -> None:
        """Raises unless the bucket is there and lets us read."""
        # with the rights that pictures need and no more; HEAD could not tell a missing bucket from this name
        await self._bucket.read(_NEVER_THERE)

    async def find(self, key: str) -> Picture | None:
        head = await self._bucket.head(key)
        return None if head is None else _picture(key, head.size_bytes, head.metadata)

    async def put(self, key: str, png: bytes, taken_at_ms: int) -> Picture:
        with Image.open(io.BytesIO(png)) as image:
            width_px, height_px = image.size
        metadata = {_WIDTH: str(width_px), _HEIGHT: str(height_px), _TAKEN: str(taken_at_ms)}
        if await self._bucket.put_new(key, NewObject(png, "image/png", _CACHE_CONTROL, metadata)):
            return _picture(key, len(png), metadata)
        stored = await self.find(key)
        if stored is None:
            raise FileNotFoundError(errno.ENOENT, "the picture was there and is gone")
        return stored


def _picture(key: str, size_bytes: int, metadata: Mapping[str, str]) -> Picture:
    try:
        width_px, height_px, taken_at_ms = (int(metadata[name]) for name in (_WIDTH, _HEIGHT, _TAKEN))
    except (KeyError, ValueError):
        raise OSError(errno.EINVAL, "an object that is no picture of ours has its name") from None
    return Picture(
        key=key,
        size_bytes=size_bytes,
        width_px=width_px,
        height_px=height_px,
        captured_at=utc_from_ms(taken_at_ms),
    )
