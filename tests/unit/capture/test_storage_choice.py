from datetime import timedelta
from pathlib import Path

import pytest

from capture.storage import PictureFolder
from capture.storage_bucket import PictureBucket
from capture.storage_choice import open_picture_store
from runtime.clock import utc_now
from runtime.process import ProcessContext
from runtime.settings import StorageSettings
from tests.support.capture_parts import png_of
from tests.support.clock import FakeClock

BUCKET = {
    "s3_bucket": "b",
    "s3_endpoint": "http://127.0.0.1:1",
    "s3_access_key_id": "id",
    "s3_secret_access_key": "secret",
}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"directory": "/nowhere"}, PictureFolder),
        (BUCKET, PictureBucket),
        (BUCKET | {"directory": "/nowhere"}, PictureBucket),
    ],
)
async def test_the_settings_choose(values: dict[str, str], kind: type[object]) -> None:
    """The bucket when there is one; nothing is asked for that."""
    settings = StorageSettings.model_validate(values)
    async with open_picture_store(settings, ProcessContext(clock=FakeClock())) as store:
        assert type(store) is kind


async def test_what_is_due_goes_while_the_store_is_open(tmp_path: Path) -> None:
    """At the start and every six hours; pictures that are kept stay."""
    clock = FakeClock()
    today = utc_now(clock).date()
    old, young = (f"free/{today - timedelta(days=age):%Y/%m/%d}/a.png" for age in (31, 30))
    for key in (old, young):
        await PictureFolder(tmp_path).put(key, png_of(), clock.unix_ms())
    async with open_picture_store(StorageSettings(directory=tmp_path), ProcessContext(clock=clock)) as store:
        await clock.until_sleeping()
        assert await store.find(old) is None
        assert await store.find(young) is not None
        await clock.advance(24 * 3600)
        await clock.until_sleeping()
        assert clock.sleeps_s[:1] == [6 * 3600.0]
        while await store.find(young) is not None:
            pass


async def test_a_folder_that_fails_ends_nothing(tmp_path: Path) -> None:
    """It is tried again later, and the process goes on."""
    clock = FakeClock()
    (tmp_path / "free/2020/01").mkdir(parents=True)
    (tmp_path / "free/2020/01/01").touch()
    context = ProcessContext(clock=clock)
    async with open_picture_store(StorageSettings(directory=tmp_path), context):
        await clock.until_sleeping()
    assert not context.failed.done()
