"""Alerts a second of one core through the parser, bytes to signal, and the CPU time of the worst bodies.

Tickers, signals and indicators repeat as they do in life; prices and times are never the same.
"""

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Final

from processors.parse import parse_webhook
from schemas.headers import WebhookMetadata
from schemas.records import Lane
from tests.support.webhooks import (
    FRAMES,
    PIECES,
    RECEIVED_AT,
    SIGNAL_ID,
    TENANT,
    parse,
    repeated,
    shipped_book,
)

ALERTS: Final = 4_000
ROUNDS: Final = 7
WORST_SHOWN: Final = 12
GOALS: Final = {"labelled text": 40_000, "JSON": 60_000}
_START: Final = datetime(2026, 3, 14, tzinfo=UTC)
_SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT.P", "AVAXUSDT.P", "1000PEPEUSDT.P", "XRPUSDT", "TIAUSDT")
_TICKERS: Final = [f"{market}:{symbol}" for market in ("BINANCE", "OKX", "BYBIT") for symbol in _SYMBOLS]
_SIGNALS: Final = ("Divergencia Alcista 🟢", "Cruce TSI/TSL 🔴", "TSL Cruza Nivel 0 🟢", "COMPRA", "VENTA 🔴")


class Facts:
    """What one invented alert is about."""

    def __init__(self, chance: random.Random, number: int) -> None:
        self.ticker = chance.choice(_TICKERS)
        self.signal = chance.choice(_SIGNALS)
        self.price = f"{chance.uniform(0.01, 99_999):.{chance.choice((1, 2, 4))}f}"
        self.dollars = f"${float(self.price):,.2f}"
        self.at = _START + timedelta(seconds=number)
        self.iso = f"{self.at:%Y-%m-%dT%H:%M:%SZ}"


def labelled(of: Facts) -> str:
    head = f"🐸 ADX DEF [APIDEVS]\n🪙 Ticker: {of.ticker}\n💰 Precio: {of.dollars}"
    return f"{head}\n📈 Señal: {of.signal}\n⏰ {of.iso}"


def short(of: Facts) -> str:
    return f"🪙 Ticker: {of.ticker}\n💰 {of.dollars}"


def pine(of: Facts) -> str:
    wrapped = f'={{"adjustment":"splits","symbol":"{of.ticker}"}}'
    milliseconds = int(of.at.timestamp() * 1000)
    head = f"ADX DEF [APIDEVS]\nCOMPRA 🟢\nTicker: {wrapped}\nPrecio: {of.price}"
    return f"{head}\n📊 RSI: 61.2\n⏰ {milliseconds}"


def as_json(of: Facts) -> str:
    exchange, symbol = of.ticker.split(":")
    return (
        f'{{"indicator":"ADX DEF [APIDEVS]","ticker":"{of.ticker}",'
        f'"exchange":"{exchange}","symbol":"{symbol}",'
        f'"price":{of.price},"signal_type":"{of.signal}","direction":"LONG","chart_id":"Zz9yY8xX",'
        '"interval":"15","message":"cruce"}'
    )


def with_link(of: Facts) -> str:
    link = "https://www.tradingview.com/chart/Ab3dE9xZ/"
    return f"ADX DEF\nTicker: {of.ticker}\nPrecio: {of.price}\nSeñal: {of.signal}\n{link}"


SHAPES: Final[dict[str, Callable[[Facts], str]]] = {
    "labelled text": labelled,
    "short text": short,
    "Pine text": pine,
    "JSON": as_json,
    "text with link": with_link,
}


def alerts_per_s(shape: Callable[[Facts], str], query: str) -> float:
    """The best round of several: others share the machine."""
    chance = random.Random(7)
    bodies = [shape(Facts(chance, number)).encode() for number in range(ALERTS)]
    metadata = WebhookMetadata(
        SIGNAL_ID, RECEIVED_AT, "127.0.0.1", "agent", "text/plain", query, TENANT.revision, 300
    )
    book = shipped_book()
    best_s = float("inf")
    for _ in range(ROUNDS):
        start_s = time.process_time()
        for body in bodies:
            parse_webhook(body, metadata, TENANT, Lane.MAIN, book)
        best_s = min(best_s, time.process_time() - start_s)
    return ALERTS / best_s


def worst_bodies() -> Iterator[tuple[float, str]]:
    """Milliseconds of CPU for each of the largest bodies, and what it is made of."""
    for piece, frame in product(PIECES, FRAMES):
        body = repeated(piece, frame)
        start_s = time.process_time()
        parse(body)
        yield 1000 * (time.process_time() - start_s), f"{piece!a} in {frame!r}"


def main() -> None:
    for name, shape in SHAPES.items():
        query = "" if shape is with_link else "chart=Ab3dE9xZ"
        rate = alerts_per_s(shape, query)
        goal = f" (goal {GOALS[name]:,})" if name in GOALS else ""
        print(f"{name:15} {rate:9,.0f} alerts/s {1e6 / rate:6.1f} µs CPU{goal}")
    found = sorted(worst_bodies(), reverse=True)
    print(f"{len(found)} bodies of 256 KiB; the slowest:")
    for cpu_ms, name in found[:WORST_SHOWN]:
        print(f"{cpu_ms:7.1f} ms CPU  {name}")


if __name__ == "__main__":
    main()
