"""One behaviour of every picture store: the same tests on files and on a real S3 server."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from api.picture_removal import PictureEraser, open_eraser
from api.picture_sources import PictureSource, open_picture_source
from capture.storage import PictureStore
from capture.storage_choice import open_picture_store
from capture.storage_keys import key_of_request
from runtime.clock import SystemClock, utc_from_ms
from runtime.ids import SignalIds
from runtime.process import ProcessContext
from runtime.settings import StorageSettings
from tests.support.capture_parts import KEY_SECRET, capture_request, png_of
from tests.support.clock import START_MS, FakeClock
from tests.support.s3_faults import moody_s3
from tests.support.s3proxy import S3Server

KEY = key_of_request(KEY_SECRET, capture_request(1))
OLD_KEY = "ab/abcdef.png"
REMAINING_S = 900

_IDS = SignalIds(SystemClock())


@dataclass(frozen=True)
class Place:
    """A store as each role sees it."""

    settings: StorageSettings
    store: PictureStore
    source: PictureSource
    eraser: PictureEraser


@asynccontextmanager
async def bucket(server: S3Server) -> AsyncIterator[StorageSettings]:
    async with moody_s3(server.endpoint) as moody:
        prefix = f"suite/{_IDS.mint()}"
        yield server.settings(prefix, s3_endpoint=moody.endpoint, s3_links="stream")


@asynccontextmanager
async def folder(path: Path) -> AsyncIterator[StorageSettings]:
    yield StorageSettings(directory=path / "pictures")


@pytest_asyncio.fixture(params=["folder", "bucket"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """An empty store of one kind; the API reads it itself."""
    is_folder = request.param == "folder"
    async with (
        folder(tmp_path) if is_folder else bucket(request.getfixturevalue("s3_server")) as settings,
        open_picture_store(settings, ProcessContext(clock=FakeClock())) as store,
        open_picture_source(settings) as source,
        open_eraser(settings) as eraser,
    ):
        yield Place(settings, store, source, eraser)


@pytest.mark.parametrize("key", [KEY, OLD_KEY])
async def test_what_was_put_is_found(place: Place, key: str) -> None:
    """With size, measures and the moment it was taken, also by another process, and byte for byte."""
    png = png_of(64, 36)
    assert await place.store.find(key) is None
    picture = await place.store.put(key, png, START_MS)
    assert (picture.key, picture.size_bytes) == (key, len(png))
    assert (picture.width_px, picture.height_px) == (64, 36)
    assert picture.captured_at == utc_from_ms(START_MS)
    async with open_picture_store(place.settings, ProcessContext(clock=FakeClock())) as other:
        assert await other.find(key) == picture
    assert await place.source.find(key, REMAINING_S) == png


async def test_a_picture_is_written_once(place: Place) -> None:
    """A second worker with the same request finds it done and learns what is stored."""
    first = await place.store.put(KEY, png_of(64, 36), START_MS)
    second = await place.store.put(KEY, png_of(128, 72), START_MS + 5000)
    assert second == first
    assert await place.source.find(KEY, REMAINING_S) == png_of(64, 36)


async def test_many_writers_agree_on_one_picture(place: Place) -> None:
    """Each is told the same, and that is what readers get."""
    pictures = [png_of(64, 36 + number) for number in range(8)]
    puts = (place.store.put(KEY, png, START_MS + number) for number, png in enumerate(pictures))
    [told] = set(await asyncio.gather(*puts))
    assert await place.source.find(KEY, REMAINING_S) == pictures[told.height_px - 36]
    assert await place.store.find(KEY) == told


async def test_a_large_picture_comes_back_as_it_was(place: Place, tmp_path: Path) -> None:
    """Several MiB that no encoder makes smaller."""
    Image.frombytes("RGB", (1920, 1080), os.urandom(1920 * 1080 * 3)).save(tmp_path / "noise.png")
    png = (tmp_path / "noise.png").read_bytes()
    assert len(png) > 5_000_000
    assert (await place.store.put(KEY, png, START_MS)).size_bytes == len(png)
    assert await place.source.find(KEY, REMAINING_S) == png


async def test_what_is_deleted_is_gone_and_may_come_again(place: Place) -> None:
    """Deleting what is not there is no error; the same name can be given again."""
    await place.eraser.delete(KEY)
    await place.store.put(KEY, png_of(), START_MS)
    await place.eraser.delete(KEY)
    await place.eraser.delete(KEY)
    assert await place.store.find(KEY) is None
    assert await place.source.find(KEY, REMAINING_S) is None
    again = await place.store.put(KEY, png_of(32, 32), START_MS + 1)
    assert again.width_px == 32


async def test_pictures_are_apart(place: Place) -> None:
    """Deleting one leaves its neighbours of the same day."""
    keys = [key_of_request(KEY_SECRET, capture_request(number)) for number in range(1, 4)]
    for key in keys:
        await place.store.put(key, png_of(), START_MS)
    await place.eraser.delete(keys[1])
    found = [await place.store.find(key) is not None for key in keys]
    assert found == [True, False, True]


async def test_what_is_not_a_picture_is_not_stored(place: Place) -> None:
    """Whoever asks is told what the store holds, so that must be known."""
    with pytest.raises(OSError, match="image"):
        await place.store.put(KEY, b"no picture", START_MS)
    assert await place.store.find(KEY) is None
