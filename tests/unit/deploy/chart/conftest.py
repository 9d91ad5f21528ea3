"""A site on a real socket, with a library file of its own and a clock the test moves."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from deploy.local.chart import sessions
from deploy.local.chart.settings import ChartSiteSettings
from deploy.local.chart.site import create_app

SECRET = SecretStr("a secret of the look-alike")
NOW_MS = 1_767_607_265_123  # 2026-01-05 10:01:05.123 UTC, a Monday


class StepClock:
    """Stands still until the test lets a sleeper go on; then it is as late as the sleeper wanted."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.sleeps: asyncio.Queue[float] = asyncio.Queue()
        self._steps = asyncio.Semaphore(0)

    def unix_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.sleeps.put_nowait(seconds)
        await self._steps.acquire()
        self.now_ms += round(seconds * 1000)

    def step(self) -> None:
        self._steps.release()


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


@pytest.fixture
def settings(tmp_path: Path) -> ChartSiteSettings:
    (tmp_path / "lightweight-charts.js").write_text("/* the library */")
    return ChartSiteSettings(secret=SECRET, library=tmp_path, loading_ms=30, tick_ms=250)


@pytest.fixture
async def site(settings: ChartSiteSettings, clock: StepClock) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(create_app(settings, clock))) as client:
        yield client


@pytest.fixture
def cookies() -> dict[str, str]:
    """Ana's session."""
    session = sessions.mint(SECRET, "Ana", "0123456789abcdef0123456789ABCDEF")
    return {
        "sessionid": session.sessionid.get_secret_value(),
        "sessionid_sign": session.sessionid_sign.get_secret_value(),
    }
