"""The site as a real process."""

import asyncio
import json
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from deploy.local.chart import sessions

_SECRET = "a secret of the look-alike"
_PROGRAM = "from deploy.local.chart.command import chart_site; chart_site()"
_ROOT = Path(__file__).parents[4]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "lightweight-charts.js").write_text("/* the library */")
    return {"CHART_SITE_SECRET": _SECRET, "CHART_SITE_LIBRARY": str(tmp_path), "CHART_SITE_PORT": "0"}


@asynccontextmanager
async def _site(environment: Mapping[str, str]) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, env=environment, cwd=_ROOT, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _started(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        event: dict[str, Any] = json.loads(await process.stdout.readline())
    assert event["event"] == "chart_site_started"
    return event


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serves_until_it_is_told_to_stop(environment: dict[str, str], number: signal.Signals) -> None:
    """Ends by itself and cleanly, also while a page is open."""
    async with _site(environment) as process, aiohttp.ClientSession() as client:
        origin = f"http://127.0.0.1:{(await _started(process))['port']}"
        async with client.get(f"{origin}/health") as answer:
            assert answer.status == 200
        async with client.ws_connect(f"{origin}/data?symbol=A:B&interval=60"):
            process.send_signal(number)
            async with asyncio.timeout(10):
                assert await process.wait() == 0


async def test_logs_no_request(environment: dict[str, str]) -> None:
    """Neither a cookie nor what a page asked for ends up in the log."""
    session = sessions.mint(SecretStr(_SECRET), "Ana", sessions.new_session_id())
    cookies = {
        "sessionid": session.sessionid.get_secret_value(),
        "sessionid_sign": session.sessionid_sign.get_secret_value(),
    }
    async with _site(environment) as process, aiohttp.ClientSession() as client:
        origin = f"http://127.0.0.1:{(await _started(process))['port']}"
        async with client.get(f"{origin}/chart/abcd1234/?symbol=X:QUERY", cookies=cookies) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            output, errors = await process.communicate()
    log = (output + errors).decode()
    assert "chart_site_stopped" in log
    assert not any(text in log for text in (*cookies.values(), "QUERY", _SECRET))


async def test_missing_settings_are_named(environment: dict[str, str]) -> None:
    """All of them at once, without a traceback."""
    for name in ("CHART_SITE_SECRET", "CHART_SITE_LIBRARY"):
        del environment[name]
    async with _site(environment) as process, asyncio.timeout(20):
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"CHART_SITE_SECRET: is not set" in errors
    assert b"CHART_SITE_LIBRARY: is not set" in errors
    assert b"Traceback" not in errors


async def test_a_taken_port_is_an_error(environment: dict[str, str]) -> None:
    """The process ends and says which address it could not have."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with _site({**environment, "CHART_SITE_PORT": str(port)}) as process, asyncio.timeout(20):
            _, errors = await process.communicate()
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}".encode() in errors
