"""The life of a role as a real process."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from runtime.process import EXIT_DRAIN_DEADLINE, EXIT_FAILED
from tests.support.stack import ROOT

PATIENCE_S = 30


@dataclass
class RoleProcess:
    """A running role and the log lines it has written so far."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def until(self, event: str) -> dict[str, Any]:
        """The next line with this event. Fails when the process ends without it."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            async for line in self.process.stdout:
                self.lines.append(json.loads(line))
                if self.lines[-1]["event"] == event:
                    return self.lines[-1]
        raise AssertionError(f"no {event} in {self.events()}")

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def ended(self) -> tuple[int, str]:
        """Exit code and what was written to standard error."""
        async with asyncio.timeout(PATIENCE_S):
            output, errors = await self.process.communicate()
        self.lines += [json.loads(line) for line in output.splitlines()]
        assert self.process.returncode is not None
        return self.process.returncode, errors.decode()

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


@asynccontextmanager
async def running(role: str, *arguments: str) -> AsyncIterator[RoleProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.roles",
        role,
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield RoleProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_signal_drains_and_ends_well(number: signal.Signals) -> None:
    """What was begun is finished, and the supervisor sees success."""
    async with running("steady") as role:
        await role.until("process_started")
        role.signal(number)
        assert await role.ended() == (0, "")
    assert role.events()[-3:] == ["process_draining", "drained", "process_stopped"]


async def test_a_second_signal_does_not_cut_the_drain_short() -> None:
    """An impatient supervisor has SIGKILL; SIGTERM only says once more what is known."""
    async with running("steady") as role:
        await role.until("process_started")
        role.signal()
        role.signal()
        assert (await role.ended())[0] == 0
    assert "drained" in role.events()


async def test_a_failed_task_drains_and_ends_badly() -> None:
    """The supervisor starts a clean one; the log says why, without a traceback on standard error."""
    async with running("failing") as role:
        assert await role.ended() == (EXIT_FAILED, "")
    assert "drained" in role.events()
    last = role.lines[-1]
    assert (last["event"], last["error"], last["detail"]) == ("process_failed", "FatalError", "told to fail")


async def test_a_role_that_has_failed_is_not_ready_while_it_drains() -> None:
    """Nobody must send it more to do on its last way."""
    async with running("failing_watched") as role:
        port = (await role.until("operations_port_open"))["port"]
        await role.until("process_draining")
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
            session.get("/ready") as answer,
        ):
            assert (answer.status, (await answer.json())["failing"]["failed"]) == (503, "TransientError")
        assert (await role.ended())[0] == EXIT_FAILED


async def test_a_role_that_does_not_drain_is_left_behind() -> None:
    """Not even a hung thread keeps the process after the deadline: what is unacknowledged is done again."""
    async with running("stubborn") as role:
        await role.until("process_started")
        role.signal()
        assert await role.ended() == (EXIT_DRAIN_DEADLINE, "")
    assert role.events()[-1] == "drain_deadline_passed"


async def test_what_is_left_behind_after_the_drain_cannot_keep_the_process() -> None:
    """A task that ignores its end would hold the interpreter for ever; the supervisor need not know."""
    async with running("haunted") as role:
        await role.until("process_started")
        role.signal()
        assert await role.ended() == (EXIT_DRAIN_DEADLINE, "")
    assert role.events()[-2:] == ["drained", "process_stopped"]


async def test_a_role_that_still_starts_is_alive_and_not_ready() -> None:
    """Whoever routes work waits for it, and nobody restarts it."""
    async with running("waiting") as role:
        port = (await role.until("operations_port_open"))["port"]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with session.get("/health") as answer:
                assert answer.status == 200
            async with session.get("/ready") as answer:
                assert (answer.status, list((await answer.json())["failing"])) == (503, ["started"])


async def test_a_stop_during_the_start_abandons_it() -> None:
    """A role that waits for a broker leaves at once and cleans up, instead of using up the deadline."""
    async with running("waiting") as role:
        await role.until("start_waits")
        role.signal()
        assert await role.ended() == (0, "")
    assert role.events()[-2:] == ["start_abandoned", "process_stopped"]


async def test_a_failure_during_the_start_ends_it() -> None:
    """A part that is broken for good does not wait until all the others are there."""
    async with running("failing_start") as role:
        assert await role.ended() == (EXIT_FAILED, "")
    assert role.events()[-1] == "process_failed"


async def test_a_role_that_cannot_start_says_why_in_a_line() -> None:
    """Expected failures are log lines, not tracebacks."""
    async with running("broken") as role:
        assert await role.ended() == (EXIT_FAILED, "")
    assert (role.events()[-1], role.lines[-1]["detail"]) == ("process_failed", "cannot start")


async def test_the_operations_port_answers() -> None:
    """Alive, not ready with the name of what is missing, and the process's own metrics."""
    async with running("unready") as role:
        port = (await role.until("operations_port_open"))["port"]
        await role.until("process_started")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with session.get("/health") as answer:
                assert answer.status == 200
            async with session.get("/ready") as answer:
                assert answer.status == 503
                assert (await answer.json())["failing"] == {"database": "TransientError"}
            async with session.get("/metrics") as answer:
                assert "alerts_spool_puts_total" in await answer.text()
        role.signal()
        assert (await role.ended())[0] == 0
    assert "s3cr3t" not in json.dumps(role.lines)


async def test_a_taken_operations_port_ends_the_process() -> None:
    """It says which address, and does not work without being watched."""
    async with running("steady") as role:
        port = (await role.until("operations_port_open"))["port"]
        async with running("steady", str(port)) as second:
            code, errors = await second.ended()
            assert code == EXIT_FAILED
            assert "address already in use" in errors
        role.signal()
        assert (await role.ended())[0] == 0
    assert "process_started" not in second.events()
