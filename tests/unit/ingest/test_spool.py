"""What the spool promises, on real files and on a disk that refuses."""

import asyncio
from pathlib import Path

import pytest

from ingest.spool import MAX_WAITING_BYTES, SpoolLimits, SpoolRefusal, SpoolRefusedError
from ingest.spool_folder import RecordNumber
from runtime.publisher import Message
from tests.support.clock import START_MS, FakeClock
from tests.support.spool import HEADERS, disk, files, message, metric, spool_in, texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


async def test_a_record_comes_back_exactly_as_it_was_put(folder: Path) -> None:
    """Topic, key or none, bytes, repeated and odd headers and the time are kept, also by the next process."""
    sent = [message("one"), Message("other", None, b"\x00" * 9, []), Message("t", b"", b"", list(HEADERS))]
    async with spool_in(folder, clock=FakeClock()) as (spool, _):
        for record in sent:
            await spool.put(record)
        assert [one.message for one in await spool.oldest(10)] == sent
    async with spool_in(folder) as (spool, _):
        found = await spool.oldest(10)
        assert [one.message for one in found] == sent
        assert {one.put_at_ms for one in found} == {START_MS}


async def test_records_come_in_the_order_of_put(folder: Path) -> None:
    """Also of puts that wait together; a limit takes the first of them."""
    async with spool_in(folder) as (spool, _):
        await asyncio.gather(*(spool.put(message(number)) for number in range(300)))
        assert await texts(spool) == [str(number) for number in range(300)]
        assert await texts(spool, limit=3) == ["0", "1", "2"]


async def test_the_journal_is_synced_before_a_put_returns(folder: Path) -> None:
    """Every single put costs a sync, and does not return while the sync has not."""
    with disk() as drive:
        async with spool_in(folder) as (spool, _):
            for number in range(5):
                before = drive.journal_syncs
                await spool.put(message(number))
                assert drive.journal_syncs > before
            drive.may_sync.clear()
            putting = asyncio.create_task(spool.put(message("held")))
            _done, waiting = await asyncio.wait({putting}, timeout=0.05)
            assert waiting == {putting}
            drive.may_sync.set()
            await putting


async def test_puts_that_wait_share_a_sync(folder: Path) -> None:
    """200 puts at once need a handful of syncs."""
    with disk() as drive:
        async with spool_in(folder) as (spool, _):
            before = drive.journal_syncs
            await asyncio.gather(*(spool.put(message(number)) for number in range(200)))
            assert 1 <= drive.journal_syncs - before <= 20
            assert len(await texts(spool)) == 200


async def test_removed_records_do_not_come_back(folder: Path) -> None:
    """Not in this process nor in the next; to remove them again harms nothing, nor what came later."""
    async with spool_in(folder) as (spool, context):
        for number in range(4):
            await spool.put(message(number))
        numbers = [one.number for one in await spool.oldest(4)]
        await spool.remove(numbers[:3])
        assert await texts(spool) == ["3"]
        await spool.remove(numbers)
        await spool.put(message("later"))
        await spool.remove([*numbers, RecordNumber(99, 1)])
        assert await texts(spool) == ["later"]
        assert metric(context, "spool_drained_total") == 12
    async with spool_in(folder) as (spool, _):
        assert await texts(spool) == ["later"]


async def test_size_follows_puts_and_removals(folder: Path) -> None:
    """Records, bytes and the age of the oldest are known, also as metrics, also after a restart."""
    clock = FakeClock()
    async with spool_in(folder, clock=clock) as (spool, context):
        assert (spool.size().records, spool.size().bytes, spool.size().oldest_age_s) == (0, 0, 0)
        await spool.put(message("a", 1000))
        clock.move(5)
        await spool.put(message("b", 1000))
        size = spool.size()
        assert (size.records, size.oldest_age_s) == (2, 5.0)
        assert 2000 < size.bytes < 2400
        assert metric(context, "spool_records") == 2
        assert metric(context, "spool_bytes") == size.bytes
        assert metric(context, "spool_oldest_seconds") == 5.0
        await spool.remove([(await spool.oldest(1))[0].number])
        assert (spool.size().records, spool.size().oldest_age_s) == (1, 0.0)
        left = spool.size()
    async with spool_in(folder, clock=clock) as (spool, _):
        assert spool.size() == left


async def test_an_age_is_never_negative(folder: Path) -> None:
    """A wall clock that was set back makes records look new, not younger than new."""
    clock = FakeClock()
    async with spool_in(folder, clock=clock) as (spool, _):
        await spool.put(message("a"))
        clock.set_unix_ms(START_MS - 60_000)
        assert spool.size().oldest_age_s == 0.0


async def test_a_full_spool_refuses_and_keeps(folder: Path) -> None:
    """Above its size it takes nothing, loses nothing, and takes again when there is room."""
    async with spool_in(folder, SpoolLimits(3000, 60.0)) as (spool, context):
        await spool.put(message("a", 1000))
        await spool.put(message("b", 1000))
        with pytest.raises(SpoolRefusedError) as refused:
            await spool.put(message("c", 1000))
        assert refused.value.refusal is SpoolRefusal.FULL
        assert [text[0] for text in await texts(spool)] == ["a", "b"]
        await spool.remove([(await spool.oldest(1))[0].number])
        await spool.put(message("d", 1000))
        assert [text[0] for text in await texts(spool)] == ["b", "d"]
        assert metric(context, "spool_puts_total", outcome="stored") == 3
        assert metric(context, "spool_puts_total", outcome="full") == 1


async def test_puts_that_wait_count_as_stored(folder: Path) -> None:
    """Many at once do not get past the limit."""
    async with spool_in(folder, SpoolLimits(3000, 60.0)) as (spool, _):
        puts = (spool.put(message(number, 1000)) for number in range(9))
        outcomes = await asyncio.gather(*puts, return_exceptions=True)
        assert [isinstance(outcome, SpoolRefusedError) for outcome in outcomes] == [False] * 2 + [True] * 7


async def test_a_disk_that_hangs_fills_no_memory(folder: Path) -> None:
    """What waits for it is bounded, and given up puts free their part once it answers."""
    with disk() as drive:
        async with spool_in(folder) as (spool, _):
            drive.may_sync.clear()
            putting = asyncio.create_task(spool.put(message("a", MAX_WAITING_BYTES // 2)))
            await asyncio.wait({putting}, timeout=0.01)
            putting.cancel()
            with pytest.raises(SpoolRefusedError, match="full"):
                await spool.put(message("b", MAX_WAITING_BYTES // 2))
            drive.may_sync.set()
            await spool.put(message("c"))
            await spool.put(message("d", MAX_WAITING_BYTES // 2))
            assert [text[0] for text in await texts(spool)] == ["a", "c", "d"]


async def test_an_old_record_closes_the_spool_until_it_is_gone(folder: Path) -> None:
    """Beyond the age nothing is taken and nothing dropped."""
    clock = FakeClock()
    async with spool_in(folder, SpoolLimits(10_000, 60.0), clock) as (spool, _):
        await spool.put(message("old"))
        clock.move(60)
        await spool.put(message("on time"))
        clock.move(1)
        with pytest.raises(SpoolRefusedError, match="too_old"):
            await spool.put(message("late"))
        assert await texts(spool) == ["old", "on time"]
        await spool.remove([(await spool.oldest(1))[0].number])
        await spool.put(message("again"))


async def test_without_a_folder_the_spool_is_off() -> None:
    """Every put is refused; there is nothing to drain."""
    async with spool_in(None) as (spool, context):
        with pytest.raises(SpoolRefusedError, match="off"):
            await spool.put(message("a"))
        assert await spool.oldest(10) == []
        assert metric(context, "spool_puts_total", outcome="off") == 1


async def test_a_closed_spool_finishes_what_waits_and_takes_no_more(folder: Path) -> None:
    """Puts under way at the end are stored; later ones are refused."""
    async with spool_in(folder) as (spool, _):
        putting = [asyncio.create_task(spool.put(message(number))) for number in range(20)]
        await asyncio.sleep(0)
    await asyncio.gather(*putting)
    with pytest.raises(SpoolRefusedError, match="closed"):
        await spool.put(message("late"))
    with pytest.raises(SpoolRefusedError, match="closed"):
        await spool.oldest(1)
    async with spool_in(folder) as (spool, _):
        assert len(await texts(spool)) == 20


@pytest.mark.parametrize("fault", ["full", "broken"])
async def test_a_disk_that_refuses_loses_nothing_and_is_used_again(folder: Path, fault: str) -> None:
    """No put succeeds meanwhile; before and after they do, and a restart finds exactly those."""
    with disk() as drive:
        async with spool_in(folder) as (spool, context):
            await spool.put(message("before"))
            setattr(drive, fault, True)
            for number in range(3):
                with pytest.raises(SpoolRefusedError, match="disk"):
                    await spool.put(message(number))
            setattr(drive, fault, False)
            await spool.put(message("after"))
            assert await texts(spool) == ["before", "after"]
            assert spool.size().records == 2
            assert metric(context, "spool_puts_total", outcome="disk") == 3
            assert metric(context, "spool_set_aside_total") == 0
        async with spool_in(folder) as (spool, _):
            assert await texts(spool) == ["before", "after"]


async def test_a_full_disk_does_not_stop_the_drain(folder: Path) -> None:
    """What was drained is not offered again, and the emptied file is deleted, which makes room."""
    with disk() as drive:
        async with spool_in(folder) as (spool, _):
            for number in range(3):
                await spool.put(message(number))
            emptied = files(folder, ".db")
            drive.full = True
            for left in (["1", "2"], ["2"], []):
                with pytest.raises(SpoolRefusedError, match="disk"):
                    await spool.remove([(await spool.oldest(1))[0].number])
                assert await texts(spool) == left
            assert files(folder, ".db") == []
            assert spool.size().records == 0
            drive.full = False
            await spool.put(message("after"))
            assert await texts(spool) == ["after"]
            assert files(folder, ".db") != emptied


async def test_a_disk_that_refuses_at_the_start_is_used_when_it_works(folder: Path) -> None:
    """The process starts without its file."""
    with disk() as drive:
        drive.full = True
        async with spool_in(folder) as (spool, _):
            with pytest.raises(SpoolRefusedError, match="disk"):
                await spool.put(message("early"))
            assert files(folder) == []
            drive.full = False
            await spool.put(message("later"))
            assert await texts(spool) == ["later"]


async def test_a_folder_that_cannot_be_made_refuses_puts(tmp_path: Path) -> None:
    """A wrong path ends no process, and may become right."""
    (tmp_path / "file").write_text("")
    async with spool_in(tmp_path / "file" / "spool") as (spool, context):
        with pytest.raises(SpoolRefusedError, match="disk"):
            await spool.put(message("a"))
        assert not context.failed.done()
        (tmp_path / "file").unlink()
        await spool.put(message("b"))
        assert await texts(spool) == ["b"]
