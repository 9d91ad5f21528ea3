"""Where pictures are kept. A picture is written once: whoever comes second finds it done."""

import asyncio
import io
import os
import tempfile
from pathlib import Path
from typing import Final, Protocol

from PIL import Image

from runtime.clock import utc_from_ms
from runtime.disk import sync_folder
from schemas.records import Picture

_TEMPORARY_PREFIX: Final = ".part-"


class PictureStore(Protocol):
    """Keeps pictures by key."""

    async def find(self, key: str) -> Picture | None:
        """What is stored under the key, or None. Raises `OSError` when the store is away."""
        ...

    async def put(self, key: str, png: bytes, taken_at_ms: int) -> Picture:
        """Returns once the picture is durable: this one, or the one that was there before.

        Raises `OSError`; then the picture may or may not be there.
        """
        ...


class PictureFolder:
    """Pictures as files, readable by this user alone.

    The file is all there is: its size, its header and its time of modification tell what `find` answers, so
    that no second file can contradict it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def find(self, key: str) -> Picture | None:
        return await asyncio.to_thread(self._find, key)

    async def put(self, key: str, png: bytes, taken_at_ms: int) -> Picture:
        return await asyncio.to_thread(self._put, key, png, taken_at_ms)

    def _find(self, key: str) -> Picture | None:
        path = self._folder / key
        try:
            with Image.open(path) as image:
                width_px, height_px = image.size
            status = path.stat()
        except FileNotFoundError:
            return None
        return Picture(
            key=key,
            size_bytes=status.st_size,
            width_px=width_px,
            height_px=height_px,
            captured_at=utc_from_ms(status.st_mtime_ns // 1_000_000),
        )

    def _put(self, key: str, png: bytes, taken_at_ms: int) -> Picture:
        # what cannot be read would be there for good, and fail whoever asks for it
        Image.open(io.BytesIO(png)).close()
        path = self._folder / key
        _make_folder(path.parent)
        descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(png)
                file.flush()
                os.utime(descriptor, ns=(taken_at_ms * 1_000_000,) * 2)
                os.fsync(descriptor)
            _link_once(Path(temporary), path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        sync_folder(path.parent)
        stored = self._find(key)
        if stored is None:
            raise FileNotFoundError(key)
        return stored


def _link_once(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return


def _make_folder(folder: Path) -> None:
    """With those above it; every one that is made is closed to others and stays through a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)
