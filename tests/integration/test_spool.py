"""The spool among real processes, under kill -9 and on a disk that is really full."""

import asyncio
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ingest.spool import SpoolRefusedError
from ingest.spool_folder import SpooledMessage
from tests.support.spool import PATIENCE_S, TOLD, files, message, spool_in, spool_process, texts

KILLS = 4
TINY_DISK = "512k"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


async def told(process: asyncio.subprocess.Process) -> AsyncIterator[str]:
    """What it says, line by line, until it ends. The last line of a killed process may be cut."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        async for line in process.stdout:
            if line.startswith(TOLD.encode()) and line.endswith(b"\n"):
                yield line.decode().strip().removeprefix(TOLD)


@pytest.mark.parametrize("seed", range(KILLS))
async def test_kill_9_loses_nothing_that_was_accepted(folder: Path, seed: int) -> None:
    """Two processes one after the other are killed at any moment; the third finds every record once."""
    moment = random.Random(seed)
    accepted: list[str] = []
    for life in ("a", "b"):
        kill_at = len(accepted) + 1 + moment.randrange(400)
        async with spool_process(folder, "put", life) as process:
            async for name in told(process):
                accepted.append(name)
                if len(accepted) == kill_at:
                    await asyncio.sleep(moment.random() * 0.02)  # between two lines
                    process.kill()
    async with spool_in(folder) as (spool, _):
        found = [text.rstrip(".") for text in await texts(spool)]
    assert {name[0] for name in accepted} == {"a", "b"}
    assert set(accepted) <= set(found)
    assert len(set(found)) == len(found)
    assert files(folder, ".corrupt") == []


async def test_four_processes_down_to_two_drain_everything_once(folder: Path) -> None:
    """Those that stay adopt the files of those that are killed, while they run; no record goes twice."""
    drained: list[str] = []
    async with AsyncExitStack() as stack:
        stay = [await stack.enter_async_context(spool_process(folder, "drain")) for _ in range(2)]
        go = [await stack.enter_async_context(spool_process(folder, "hold", "50")) for _ in range(2)]
        talks = [told(process) for process in (*stay, *go)]
        assert [await anext(talk) for talk in talks] == ["ready"] * 4
        for process in go:
            process.kill()

        async def collect(talk: AsyncIterator[str]) -> None:
            async for name in talk:
                drained.append(name)
                if len(drained) == 100:
                    everything.set()

        everything = asyncio.Event()
        collecting = [asyncio.create_task(collect(talk)) for talk in talks[:2]]
        async with asyncio.timeout(PATIENCE_S):
            await everything.wait()
        for process in stay:
            process.kill()
        await asyncio.gather(*collecting)
    assert sorted(drained) == sorted(2 * [str(number) for number in range(50)])


async def test_adopters_that_race_share_the_files(folder: Path) -> None:
    """Eight spools in one folder start, adopt and end at once: every record is held by exactly one."""
    async with AsyncExitStack() as stack:
        leaving = [await stack.enter_async_context(spool_in(folder)) for _ in range(8)]
        for number, (spool, _) in enumerate(leaving):
            await spool.put(message(number))
    seen: list[str] = []

    async def adopt_and_end() -> None:
        async with spool_in(folder) as (spool, _):
            for _ in range(3):
                mine: list[SpooledMessage] = await spool.oldest(3)
                seen.extend(one.message.value.decode() for one in mine)
                await spool.remove([one.number for one in mine])
                await spool.adopt()

    await asyncio.gather(*(adopt_and_end() for _ in range(8)))
    async with spool_in(folder) as (spool, _):
        seen += await texts(spool)
        await spool.remove([one.number for one in await spool.oldest(100)])
    assert sorted(seen) == [str(number) for number in range(8)]
    assert files(folder) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a few records. Skipped where nobody may mount."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={TINY_DISK}", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_real_full_disk_refuses_keeps_and_recovers(tiny_disk: Path) -> None:
    """Whatever was accepted is drained though nothing can be deleted; then there is room again."""
    accepted: list[str] = []
    async with spool_in(tiny_disk / "spool") as (spool, context):

        async def put_until_refused() -> None:
            for number in range(1000):
                await spool.put(message(number, 5000))
                accepted.append(str(number))

        with pytest.raises(SpoolRefusedError, match="disk"):
            await put_until_refused()
        assert accepted
        for number in range(1000, 1010):
            with pytest.raises(SpoolRefusedError, match="disk"):
                await spool.put(message(number, 50_000))
        drained: list[str] = []
        while some := await spool.oldest(7):
            drained += [one.message.value.decode().rstrip(".") for one in some]
            try:
                await spool.remove([one.number for one in some])
            except SpoolRefusedError:
                continue
        assert drained == accepted
        await spool.put(message("again", 5000))
        assert [text.rstrip(".") for text in await texts(spool)] == ["again"]
        assert not context.failed.done()
