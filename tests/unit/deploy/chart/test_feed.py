from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType
from aiohttp.test_utils import TestClient

Site = TestClient[Any, Any]
_HOUR_MS = 3_600_000


class Clock(Protocol):
    """The part of the fixture's clock that these tests use."""

    now_ms: int
    sleeps: Any

    def step(self) -> None: ...


@asynccontextmanager
async def _socket(site: Site, **query: str) -> AsyncIterator[ClientWebSocketResponse]:
    async with site.ws_connect("/data", params=query) as socket:
        yield socket


async def _loaded(socket: ClientWebSocketResponse, clock: Clock) -> dict[str, Any]:
    clock.step()
    message: dict[str, Any] = await socket.receive_json(timeout=5)
    return message


@pytest.mark.parametrize(("elapsed_ms", "wait_s"), [("0", 0.03), ("12", 0.018), ("500", 0), ("x", 0.03)])
async def test_data_comes_after_the_loading_time(
    site: Site, clock: Clock, elapsed_ms: str, wait_s: float
) -> None:
    """Counted from the start of the navigation; nothing is sent before."""
    async with _socket(site, symbol="A:B", interval="60", elapsed_ms=elapsed_ms) as socket:
        assert await clock.sleeps.get() == pytest.approx(wait_s, abs=1e-6)
        first = await _loaded(socket, clock)
    assert first["type"] == "bars"
    assert len(first["bars"]) == 300
    assert first["bars"][-1][0] <= clock.now_ms < first["bars"][-1][0] + _HOUR_MS


async def test_the_price_moves_for_as_long_as_the_page_listens(site: Site, clock: Clock) -> None:
    """One update a tick, always of the last bar."""
    async with _socket(site, symbol="A:B", interval="60") as socket:
        first = await _loaded(socket, clock)
        closes = {first["bars"][-1][4]}
        for _ in range(5):
            tick = await _loaded(socket, clock)
            assert tick["type"] == "tick"
            assert [bar[0] for bar in tick["bars"]] == [first["bars"][-1][0]]
            closes.add(tick["bars"][-1][4])
    assert len(closes) == 6


async def test_a_new_bar_begins_with_its_time(site: Site, clock: Clock) -> None:
    """When the hour is over the finished bar is sent once more, and the new one behind it."""
    async with _socket(site, symbol="A:B", interval="60") as socket:
        first = await _loaded(socket, clock)
        last_ms = first["bars"][-1][0]
        clock.now_ms += _HOUR_MS
        tick = await _loaded(socket, clock)
    assert [bar[0] for bar in tick["bars"]] == [last_ms, last_ms + _HOUR_MS]
    assert tick["bars"][1][1] == tick["bars"][0][4]


async def test_a_clock_set_back_sends_no_older_bar(site: Site, clock: Clock) -> None:
    """A page cannot take back a bar it has drawn."""
    async with _socket(site, symbol="A:B", interval="60") as socket:
        first = await _loaded(socket, clock)
        clock.now_ms -= 5 * _HOUR_MS
        tick = await _loaded(socket, clock)
    assert [bar[0] for bar in tick["bars"]] == [first["bars"][-1][0]]


@pytest.mark.parametrize("symbol", ["UNKNOWN:FOO", "not a symbol", ""])
async def test_symbols_that_do_not_exist_get_no_data(site: Site, clock: Clock, symbol: str) -> None:
    """The page is told so after the loading time, and nothing else."""
    async with _socket(site, symbol=symbol, interval="60") as socket:
        assert await _loaded(socket, clock) == {"type": "invalid_symbol"}
        await site.get("/health")
        assert clock.sleeps.qsize() == 1, "the site waits for another tick"
        assert not socket.closed


async def test_open_sockets_end_with_the_site(site: Site, clock: Clock) -> None:
    """Shutting down says goodbye to every page instead of waiting for it."""
    async with _socket(site, symbol="A:B", interval="60") as socket:
        await _loaded(socket, clock)
        await site.server.close()
        message = await socket.receive(timeout=5)
    assert message.type is WSMsgType.CLOSE
    assert message.data == 1001
