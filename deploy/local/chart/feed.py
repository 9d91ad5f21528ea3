"""The data socket: bars after the loading time, then the moving price for as long as the page is open.

The loading time counts from the start of the navigation, which the page passes as `elapsed_ms`.
"""

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from weakref import WeakSet

import orjson
from aiohttp import WSCloseCode, web

from deploy.local.chart.interval import Interval, interval_or_default
from deploy.local.chart.market import Bar, Market, symbol_exists
from deploy.local.chart.settings import ChartSiteSettings
from runtime.clock import Clock

_BARS: Final = 300
_SEND_DEADLINE_S: Final = 5
_CLOSE_DEADLINE_S: Final = 0.5
_MILLISECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class Feed:
    """Serves `/data?symbol=&interval=`; `close` ends all sockets, each within half a second."""

    def __init__(self, settings: ChartSiteSettings, clock: Clock) -> None:
        self._loading_s = settings.loading_ms / 1000
        self._tick_s = settings.tick_ms / 1000
        self._clock = clock
        self._sockets: WeakSet[web.WebSocketResponse] = WeakSet()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=_CLOSE_DEADLINE_S, compress=False)
        await socket.prepare(request)
        self._sockets.add(socket)
        sending = asyncio.create_task(self._send_all(socket, request.query))
        try:
            async for _ in socket:
                pass
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
        return socket

    async def close(self, _app: web.Application) -> None:
        await asyncio.gather(
            *(socket.close(code=WSCloseCode.GOING_AWAY) for socket in self._sockets), return_exceptions=True
        )

    async def _send_all(self, socket: web.WebSocketResponse, query: Mapping[str, str]) -> None:
        """Until cancelled, or until the page is gone or no longer reads."""
        loaded_at_s = self._clock.monotonic_s() + self._loading_s - _elapsed_s(query)
        symbol = query.get("symbol", "")
        interval = interval_or_default(query.get("interval", ""))
        with suppress(ConnectionError, TimeoutError):
            if symbol_exists(symbol):
                await self._send_market(socket, Market(symbol, interval), interval, loaded_at_s)
            else:
                await self._until(loaded_at_s)
                await _send(socket, {"type": "invalid_symbol"})

    async def _send_market(
        self, socket: web.WebSocketResponse, market: Market, interval: Interval, loaded_at_s: float
    ) -> None:
        now_ms = self._clock.unix_ms()
        bars = _rows(market.bars(now_ms, _BARS))
        await self._until(loaded_at_s)
        await _send(socket, {"type": "bars", "decimals": market.decimals, "bars": bars})
        while True:
            last = interval.index_at(now_ms)
            await self._clock.sleep(self._tick_s)
            # A clock set back must not send the page bars older than its last.
            now_ms = max(now_ms, self._clock.unix_ms())
            moved = interval.index_at(now_ms) - last + 1
            await _send(socket, {"type": "tick", "bars": _rows(market.bars(now_ms, min(moved, _BARS)))})

    async def _until(self, monotonic_s: float) -> None:
        await self._clock.sleep(max(0.0, monotonic_s - self._clock.monotonic_s()))


def _elapsed_s(query: Mapping[str, str]) -> float:
    text = query.get("elapsed_ms", "")
    return int(text) / 1000 if _MILLISECONDS.fullmatch(text) else 0.0


async def _send(socket: web.WebSocketResponse, message: dict[str, object]) -> None:
    async with asyncio.timeout(_SEND_DEADLINE_S):
        await socket.send_str(orjson.dumps(message).decode())


def _rows(bars: list[Bar]) -> list[tuple[float, ...]]:
    return [(bar.start_ms, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars]
