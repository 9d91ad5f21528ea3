"""`alerts pictures` on a real database, with the pictures on disk and in a real bucket."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from api import picture_removal
from api.picture_removal import PictureRemoval, PictureStoreError
from api.pictures_command import command
from capture.storage import PictureStore
from capture.storage_choice import open_picture_store
from capture.storage_keys import key_of_request
from runtime.clock import SystemClock, utc_now
from runtime.environment import Environment
from runtime.errors import InvalidError
from runtime.ids import SignalIds
from runtime.postgres import Pool
from runtime.process import ProcessContext
from runtime.settings import StorageSettings, load_section
from schemas.plans import Plan
from schemas.records import CaptureEventKind
from sinks.capture_store import CaptureStore
from tests.support.api import new_signal, pool_of, store
from tests.support.capture_parts import KEY_SECRET, capture_request, png_of
from tests.support.clock import START_MS, FakeClock
from tests.support.s3proxy import BUCKET, KEY_ID, SECRET, S3Server
from tests.support.signals import new_event
from tests.support.tenants import insert_tenant, new_customer, new_user_id

_IDS = SignalIds(SystemClock())


@dataclass(frozen=True)
class Gallery:
    """Two tenants with pictures, and the variables of an operator."""

    values: Mapping[str, str]
    pool: Pool
    pictures: PictureStore
    ana: UUID
    bob: UUID

    async def call(self, *words: str, typed: str = "", **changes: str) -> Result:
        """In a thread, since a command has a loop of its own."""
        environment = Environment({**self.values, **changes})
        invoke = partial(CliRunner().invoke, command, words, obj=environment, input=typed)
        return await asyncio.to_thread(invoke)

    async def add(self, user_id: UUID, count: int) -> list[str]:
        """So many completed signals, each with its picture; their keys."""
        keys = []
        for _number in range(count):
            signal = new_signal(user_id)
            await store(self.pool, signal)
            key = key_of_request(KEY_SECRET, capture_request(1, signal_id=signal.signal_id, user_id=user_id))
            picture = await self.pictures.put(key, png_of(), START_MS)
            await CaptureStore(self.pool).apply(
                [new_event(signal, CaptureEventKind.COMPLETED, picture=picture)]
            )
            keys.append(key)
        return keys

    async def kept(self, keys: list[str]) -> list[bool]:
        return [await self.pictures.find(key) is not None for key in keys]

    async def rows(self, user_id: UUID) -> tuple[int, int]:
        """Pictures and links of signals in the database."""
        pictures = await self.pool.fetchval("SELECT count(*) FROM screenshots WHERE user_id = $1", user_id)
        links = await self.pool.fetchval(
            "SELECT count(*) FROM signal_screenshots JOIN signals ON id = signal_id WHERE user_id = $1",
            user_id,
        )
        return pictures, links


@pytest_asyncio.fixture(params=["folder", "bucket"])
async def gallery(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path
) -> AsyncIterator[Gallery]:
    values = {"DATABASE_URL": database_url, "STORAGE_DIRECTORY": str(tmp_path / "pictures")}
    if request.param == "bucket":
        server: S3Server = request.getfixturevalue("s3_server")
        values |= {
            "S3_BUCKET": BUCKET,
            "S3_ENDPOINT": server.endpoint,
            "S3_ACCESS_KEY_ID": KEY_ID,
            "S3_SECRET_ACCESS_KEY": SECRET,
            "S3_PREFIX": f"command/{_IDS.mint()}",
        }
    context = ProcessContext(clock=FakeClock())
    async with (
        pool_of(database_url) as pool,
        open_picture_store(load_section(StorageSettings, values), context) as pictures,
    ):
        customers = [new_customer(), new_customer()]
        for customer in customers:
            await insert_tenant(pool, customer)
        ana, bob = (customer.tenant.user_id for customer in customers)
        yield Gallery(values, pool, pictures, ana, bob)


async def test_a_users_pictures_go_and_nobody_elses(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the store and from the database, in batches; the signals stay, and a second call finds nothing."""
    monkeypatch.setattr(picture_removal, "REMOVAL_BATCH", 2)
    gone, kept = await gallery.add(gallery.ana, 5), await gallery.add(gallery.bob, 1)
    result = await gallery.call("delete", "--user", str(gallery.ana), "--yes")
    assert (result.exit_code, result.stdout) == (0, "deleted 5 pictures\n"), result.output
    assert await gallery.kept(gone + kept) == [False] * 5 + [True]
    assert await gallery.rows(gallery.ana) == (0, 0)
    assert await gallery.rows(gallery.bob) == (1, 1)
    signals = "SELECT count(*) FROM signals WHERE user_id = $1 AND screenshot_status = 'completed'"
    assert await gallery.pool.fetchval(signals, gallery.ana) == 5
    again = await gallery.call("delete", "--user", str(gallery.ana), "--yes")
    assert (again.exit_code, again.stdout) == (0, "0 pictures, 0.0 MiB\n")


async def test_nothing_goes_unless_it_is_meant(gallery: Gallery) -> None:
    """A dry run only counts, and a question that is not answered with yes deletes nothing."""
    keys = await gallery.add(gallery.ana, 2)
    dry = await gallery.call("delete", "--user", str(gallery.ana), "--dry-run")
    assert (dry.exit_code, dry.stdout) == (0, "2 pictures, 0.0 MiB\n")
    asked = await gallery.call("delete", "--user", str(gallery.ana), typed="n\n")
    assert asked.exit_code == 1
    assert await gallery.kept(keys) == [True] * 2
    meant = await gallery.call("delete", "--user", str(gallery.ana), typed="y\n")
    assert meant.exit_code == 0
    assert await gallery.kept(keys) == [False] * 2


async def test_who_is_not_there_has_no_pictures(gallery: Gallery) -> None:
    """A mistyped id is told, not taken for somebody without pictures."""
    result = await gallery.call("delete", "--user", str(new_user_id()), "--yes")
    assert isinstance(result.exception, InvalidError)
    assert "unknown_user" in str(result.exception)


async def test_what_a_failure_leaves_is_found_again(gallery: Gallery) -> None:
    """The rows go after the pictures; until then they show what is still to be deleted."""
    keys = await gallery.add(gallery.ana, 3)
    eraser = FailingEraser(gallery, keys[0])
    removal = PictureRemoval(gallery.pool, eraser)
    with pytest.raises(PictureStoreError, match="disk"):
        await removal.remove(gallery.ana)
    assert (await removal.count(gallery.ana)).count == 3
    result = await gallery.call("delete", "--user", str(gallery.ana), "--yes")
    assert result.stdout == "deleted 3 pictures\n"
    assert await gallery.kept(keys) == [False] * 3


class FailingEraser:
    """Cannot delete one picture."""

    def __init__(self, gallery: Gallery, stuck: str) -> None:
        self._values = gallery.values
        self._stuck = stuck

    async def delete(self, key: str) -> None:
        if key == self._stuck:
            raise OSError(5, "disk")
        async with picture_removal.open_eraser(load_section(StorageSettings, self._values)) as eraser:
            await eraser.delete(key)


async def test_a_row_that_leads_elsewhere_deletes_no_file(gallery: Gallery, tmp_path: Path) -> None:
    """The row goes, the file that is no picture stays."""
    (tmp_path / "precious.png").touch()
    await gallery.pool.execute(
        "INSERT INTO screenshots VALUES ('../precious.png', $1, 1, 1, 1, 'completed', 1, '{}', now())",
        gallery.ana,
    )
    result = await gallery.call("delete", "--user", str(gallery.ana), "--yes")
    assert result.exit_code == 0
    assert (tmp_path / "precious.png").exists()


async def test_files_go_when_they_are_due_and_a_bucket_has_rules(gallery: Gallery) -> None:
    """`retain` works on the directory; with a bucket it says what does it instead."""
    if "S3_BUCKET" in gallery.values:
        result = await gallery.call("retain")
        assert result.exit_code == 1
        assert "lifecycle" in result.output
        return
    today = utc_now(SystemClock()).date()
    old, young = (f"basic/{today - timedelta(days=age):%Y/%m/%d}/a.png" for age in (62, 59))
    for key in (old, young):
        await gallery.pictures.put(key, png_of(), START_MS)
    assert (await gallery.call("retain", "--dry-run")).stdout == "1 files are due\n"
    assert (await gallery.call("retain")).stdout == "deleted 1 files\n"
    assert await gallery.kept([old, young]) == [False, True]


async def test_the_rules_are_those_of_the_bucket(gallery: Gallery) -> None:
    """As JSON, below the prefix of the settings."""
    rules = json.loads((await gallery.call("lifecycle")).stdout)["Rules"]
    prefix = gallery.values.get("S3_PREFIX")
    expected = [f"{prefix}/{plan}/" if prefix else f"{plan}/" for plan in Plan]
    assert [rule["Filter"]["Prefix"] for rule in rules] == expected


async def test_a_bucket_that_is_away_is_told(gallery: Gallery) -> None:
    """In a line for people, and nothing is forgotten."""
    if "S3_BUCKET" not in gallery.values:
        pytest.skip("a directory is never away")
    await gallery.add(gallery.ana, 1)
    away = {"S3_ENDPOINT": "http://127.0.0.1:1"}
    result = await gallery.call("delete", "--user", str(gallery.ana), "--yes", **away)
    assert isinstance(result.exception, PictureStoreError)
    assert "EndpointConnectionError" in str(result.exception)
    assert await gallery.rows(gallery.ana) == (1, 1)
