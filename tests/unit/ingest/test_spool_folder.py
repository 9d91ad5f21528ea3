"""Who holds which file of the spool's folder, and what becomes of damaged ones."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import apsw
import pytest
from structlog.testing import capture_logs

from ingest.spool import ADOPT_EVERY_S
from ingest.spool_file import DiskError, encode_entry
from ingest.spool_folder import SpoolFolder
from runtime.metrics import create_metrics
from tests.support.clock import FakeClock
from tests.support.spool import disk, files, message, metric, spool_in, texts
from tests.support.waiting import eventually

PAGE_BYTES = 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@contextmanager
def process(folder: Path) -> Iterator[SpoolFolder]:
    """What a process that starts does; its clean end."""
    held = SpoolFolder(folder, create_metrics())
    held.prepare()
    held.adopt()
    yield held
    held.close()


def put(held: SpoolFolder, *names: str, size_bytes: int = 0, at_ms: int = 1000) -> None:
    held.write([encode_entry(message(name, size_bytes), at_ms) for name in names])


def names(held: SpoolFolder) -> list[str]:
    return [one.message.value.decode().rstrip(".") for one in held.read(10_000)]


def drain(held: SpoolFolder) -> None:
    held.remove([one.number for one in held.read(10_000)])


def leave(folder: Path, *names: str, size_bytes: int = 0) -> Path:
    """A file left behind with records."""
    with process(folder) as held:
        put(held, *names, size_bytes=size_bytes)
        drain_nothing = files(folder, ".db")
    [path] = [path for path in drain_nothing if path.exists()]
    return path


def test_only_the_owner_can_read_it(folder: Path) -> None:
    """The folder is 0700 also when it was there before, every file in it 0600."""
    folder.mkdir(0o755)
    with process(folder) as held:
        put(held, "a")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        found = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert found == {".db": 0o600, ".db-wal": 0o600, ".lock": 0o600}


def test_an_empty_file_goes_with_its_process(folder: Path) -> None:
    """Nothing is left in the folder."""
    with process(folder) as held:
        put(held, "a")
        drain(held)
    assert list(folder.iterdir()) == []


def test_two_processes_hold_two_files(folder: Path) -> None:
    """A file whose process lives is not taken."""
    with process(folder) as first, process(folder) as second:
        put(first, "a")
        put(second, "b")
        second.adopt()
        assert (names(first), names(second)) == (["a"], ["b"])


def test_the_file_of_a_process_that_is_gone_is_drained_first_and_removed(folder: Path) -> None:
    """Adopted while the adopter works; oldest file first; only the adopter's own file stays."""
    with process(folder) as held:
        with process(folder) as younger, process(folder) as older:
            put(younger, "c", at_ms=3000)
            put(older, "a", "b", at_ms=1000)
        put(held, "d", at_ms=500)
        held.adopt()
        assert names(held) == ["a", "b", "c", "d"]
        assert [one.message.value for one in held.read(3)] == [b"a", b"b", b"c"]
        assert held.totals().records == 4
        assert held.totals().oldest_ms == 500
        drain(held)
        assert len(files(folder, ".db")) == 1
        assert len(list(folder.iterdir())) == 3
        assert held.totals().records == 0


def test_older_files_are_drained_before_younger_ones(folder: Path) -> None:
    """In whatever order they are found."""
    with process(folder) as held, ExitStack() as stack:
        for age_ms in (3, 1, 5, 2, 6, 4):
            put(stack.enter_context(process(folder)), str(age_ms), at_ms=age_ms)
        stack.close()
        held.adopt()
        assert names(held) == ["1", "2", "3", "4", "5", "6"]
        drain(held)


def test_an_empty_file_of_a_killed_process_is_removed(folder: Path) -> None:
    """Most processes end with nothing in the spool."""
    killed = SpoolFolder(folder, create_metrics())
    killed.prepare()
    assert killed._own is not None
    killed._own.file.close()
    killed._own.lock.release()
    with process(folder):
        assert len(files(folder, ".db")) == 1
    assert list(folder.iterdir()) == []


def test_an_adopted_file_is_adopted_again_after_its_adopter(folder: Path) -> None:
    """What one process did not finish the next one does."""
    leave(folder, "a", "b")
    with process(folder) as held:
        held.remove([held.read(1)[0].number])
        assert len(files(folder, ".db")) == 2
    assert len(files(folder, ".db")) == 1
    with process(folder) as held:
        assert names(held) == ["b"]


def test_what_an_interrupted_creation_left_is_removed(folder: Path) -> None:
    """A process killed while it made its file had accepted nothing."""
    folder.mkdir()
    for name in ("spool-x.lock", "spool-x.new", "spool-x.new-wal", "spool-y.lock"):
        (folder / name).touch()
    with process(folder):
        pass
    assert list(folder.iterdir()) == []


def test_a_database_without_its_lock_is_adopted(folder: Path) -> None:
    """The lock file may be missing after a copy by hand."""
    leave(folder, "a").with_suffix(".lock").unlink()
    with process(folder) as held:
        assert names(held) == ["a"]


def test_foreign_files_are_left_alone(folder: Path) -> None:
    """Only names that the spool gives are touched."""
    folder.mkdir()
    foreign = [folder / "notes.db", folder / "spool.db", folder / "spool-a.db.corrupt"]
    for path in foreign:
        path.write_text("mine")
    with process(folder):
        pass
    assert sorted(folder.iterdir()) == sorted(foreign)
    assert {path.read_text() for path in foreign} == {"mine"}


def test_a_file_that_another_program_reads_is_adopted_later(folder: Path) -> None:
    """It is neither damaged nor lost."""
    path = leave(folder, "a")
    reader = apsw.Connection(str(path))
    reader.execute("begin; select * from records").fetchall()
    with process(folder) as held:
        assert names(held) == []
        reader.close()
        held.adopt()
        assert names(held) == ["a"]
        assert files(folder, ".corrupt") == []


def test_a_file_that_cannot_be_read_does_not_hide_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad sector under an adopted file leaves the rest to drain; alone it is told as an error."""
    leave(folder, "bad")
    with process(folder) as held:
        [adopted] = held._adopted
        put(held, "good")
        with monkeypatch.context() as patch:
            patch.setattr(adopted.file, "read", refuse)
            assert names(held) == ["good"]
            drain(held)
            with pytest.raises(DiskError):
                held.read(1)
        assert names(held) == ["bad"]


def refuse(_limit: int) -> None:
    raise DiskError


def test_a_large_file_is_replaced_once_it_is_empty(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite would keep its room for ever."""
    monkeypatch.setattr("ingest.spool_folder._KEPT_BYTES", 100_000)
    with process(folder) as held:
        put(held, "small")
        [small] = files(folder, ".db")
        drain(held)
        assert files(folder, ".db") == [small]
        put(held, *(str(number) for number in range(100)), size_bytes=50_000)
        drain(held)
        assert files(folder, ".db") == []
        put(held, "again")
        assert names(held) == ["again"]


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // PAGE_BYTES * PAGE_BYTES)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def cut_in_a_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size - PAGE_BYTES // 2)


def zeros_at(page: int, offset: int) -> Callable[[Path], None]:
    def write_zeros(path: Path) -> None:
        pages = path.stat().st_size // PAGE_BYTES
        with path.open("r+b") as file:
            file.seek((page % pages) * PAGE_BYTES + offset)
            file.write(b"\0" * (PAGE_BYTES // 2))

    return write_zeros


def other_version(path: Path) -> None:
    apsw.Connection(str(path)).execute("pragma user_version = 2").fetchall()


def other_database(path: Path) -> None:
    path.unlink()
    apsw.Connection(str(path)).execute("create table t (c); pragma user_version = 1").fetchall()


def other_body(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"bad 30", b"new 30"))


DAMAGES = [
    garbage,
    other_body,
    truncated,
    emptied,
    cut_in_a_page,
    other_version,
    other_database,
    *(zeros_at(page, offset) for page in (0, 1, 3, -2, -1) for offset in (0, PAGE_BYTES // 2)),
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_file_is_set_aside_and_reported(folder: Path, damage: Callable[[Path], None]) -> None:
    """Other files are drained, the process works, and the damaged one is kept under another name."""
    good = leave(folder, "good")
    hidden = good.rename(folder / "hidden")
    bad = leave(folder, *(f"bad {number}" for number in range(60)), size_bytes=700)
    damage(bad)
    hidden.rename(good)
    with capture_logs() as logs:
        async with spool_in(folder, clock=FakeClock(unix_ms=2000)) as (spool, context):
            found = await texts(spool)
            assert [text for text in found if not text.startswith("bad")] == ["good"]
            await spool.put(message("new"))
            assert (await texts(spool))[-1] == "new"
            assert metric(context, "spool_set_aside_total") == 1
            assert not context.failed.done()
    assert files(folder, ".corrupt") == [bad.with_name(f"{bad.name}.corrupt")]
    assert not bad.exists()
    assert [log["file"] for log in logs if log["event"] == "spool_file_set_aside"] == [bad.stem]
    assert "bad" not in str([log for log in logs if log["event"] != "spool_file_set_aside"])


async def test_damage_found_at_work_costs_the_file_and_no_put(folder: Path) -> None:
    """The own file turns bad under a running spool: the next puts go to a new one."""
    with disk():
        async with spool_in(folder) as (spool, context):
            await spool.put(message("before"))
            [path] = files(folder, ".db")
            assert spool._folder is not None
            own = spool._folder._own
            assert own is not None
            own.file._connection.execute("drop table totals").fetchall()
            await spool.put(message("after"))
            assert await texts(spool) == ["after"]
            assert spool.size().records == 1
            assert metric(context, "spool_set_aside_total") == 1
            assert files(folder, ".corrupt") == [path.with_name(f"{path.name}.corrupt")]


async def test_damage_found_by_the_drain_costs_only_that_file(folder: Path) -> None:
    """A record with a wrong checksum is never handed out; a removal from a file set aside is no error."""
    async with spool_in(folder) as (spool, context):
        await spool.put(message("before"))
        await spool.put(message("more"))
        assert spool._folder is not None
        own = spool._folder._own
        assert own is not None
        [first] = await spool.oldest(1)
        own.file._connection.execute("update records set record = x'00' where number = 2").fetchall()
        assert await texts(spool) == []
        await spool.remove([first.number])
        await spool.put(message("after"))
        assert await texts(spool) == ["after"]
        assert metric(context, "spool_set_aside_total") == 1


async def test_files_are_adopted_while_the_process_works(folder: Path) -> None:
    """A process that stays takes over within seconds from one that goes."""
    clock = FakeClock()
    async with spool_in(folder, clock=clock) as (stays, _):
        await clock.until_sleeping()
        async with spool_in(folder) as (goes, _):
            await goes.put(message("a"))
        assert await texts(stays) == []
        await clock.advance(ADOPT_EVERY_S)
        assert await eventually(partial(texts, stays)) == ["a"]
        assert stays.size().records == 1
