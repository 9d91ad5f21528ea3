import asyncio
import os
from pathlib import Path

import pytest

from capture.storage import PictureFolder
from runtime.clock import utc_from_ms
from runtime.ids import lowest_id_at
from tests.support.capture_parts import key_of, png_of
from tests.support.clock import START_MS

KEY = key_of(lowest_id_at(1), 1)


async def test_what_was_put_is_found(tmp_path: Path) -> None:
    """With size, measures and the moment it was taken."""
    store = PictureFolder(tmp_path)
    png = png_of(64, 36)
    assert await store.find(KEY) is None
    picture = await store.put(KEY, png, START_MS)
    assert await PictureFolder(tmp_path).find(KEY) == picture
    assert (picture.key, picture.size_bytes) == (KEY, len(png))
    assert (picture.width_px, picture.height_px) == (64, 36)
    assert picture.captured_at == utc_from_ms(START_MS)
    assert (tmp_path / KEY).read_bytes() == png


async def test_a_picture_is_written_once(tmp_path: Path) -> None:
    """A second worker with the same request finds it done and learns what is stored."""
    store = PictureFolder(tmp_path)
    first = await store.put(KEY, png_of(64, 36), START_MS)
    second = await store.put(KEY, png_of(128, 72), START_MS + 5000)
    assert second == first
    assert (tmp_path / KEY).read_bytes() == png_of(64, 36)


async def test_many_writers_agree_on_one_picture(tmp_path: Path) -> None:
    """Each is told the same, and no unfinished file is left."""
    store = PictureFolder(tmp_path)
    puts = (store.put(KEY, png_of(64, 36 + number), START_MS) for number in range(8))
    assert len(set(await asyncio.gather(*puts))) == 1
    assert [path.name for path in (tmp_path / KEY).parent.iterdir()] == [Path(KEY).name]


async def test_only_this_user_can_read_it(tmp_path: Path) -> None:
    """Folder and file are closed to others."""
    key = "free/2026/03/14/a.png"
    await PictureFolder(tmp_path / "pictures").put(key, png_of(), START_MS)
    path = tmp_path / "pictures" / key
    places = (path, *list(path.parents)[:5])
    assert places[-1] == tmp_path / "pictures"
    assert [place.stat().st_mode & 0o077 for place in places] == [0] * 6


async def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a picture nor a piece of one, and the error says that the store is at fault."""

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    store = PictureFolder(tmp_path)
    (tmp_path / KEY).parent.mkdir()
    with pytest.raises(OSError, match="No space"):
        await store.put(KEY, png_of(), START_MS)
    assert list((tmp_path / KEY).parent.iterdir()) == []
