"""Which page shows a chart: an address made only of validated parts, and how its symbol and interval read."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from runtime.errors import InvalidError
from schemas.records import CaptureRequest

_CHART_ID: Final = re.compile(r"[A-Za-z0-9]{4,32}")
_TICKER_MAX_CHARS: Final = 256
_SPOKEN_INTERVAL: Final = re.compile(r"(\d{0,5})\s?([A-Za-z]{0,7})")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MINUTE_WORDS: Final = {"": 1, "m": 1, "min": 1, "minute": 1, "h": 60, "hr": 60, "hour": 60}
_LETTERS: Final = {
    "s": "S", "sec": "S", "second": "S", "d": "D", "day": "D", "w": "W", "week": "W", "mo": "M", "month": "M"
}  # fmt: skip
_MOST: Final = {"": 1440, "S": 999, "D": 365, "W": 52, "M": 12}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of the chart site. Cookies go nowhere else, so it is https unless loopback."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Origin":
        """Raises `InvalidError` (`invalid_origin`)."""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise InvalidError("invalid_origin", "not a URL") from error
        if parts.scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc:
            raise InvalidError("invalid_origin", "needs http(s)://host[:port]")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise InvalidError("invalid_origin", "must not have a path")
        if parts.scheme == "http" and not _is_loopback(host):
            raise InvalidError("invalid_origin", "needs https unless the host is loopback")
        return cls(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme])

    def __str__(self) -> str:
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self._bracketed}{port}"

    @property
    def authority(self) -> str:
        """`host:port`, the port always there."""
        return f"{self._bracketed}:{self.port}"

    @property
    def is_secure(self) -> bool:
        return self.scheme == "https"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


@dataclass(frozen=True, slots=True)
class ChartView:
    """One chart as it is asked for. `interval` is TradingView's code, or None: the layout's own."""

    chart_id: str
    ticker: str
    interval: str | None

    def url(self, origin: Origin) -> str:
        interval = f"&interval={quote(self.interval, safe='')}" if self.interval else ""
        return f"{origin}{self.path}?symbol={quote(self.ticker, safe='')}{interval}"

    @property
    def path(self) -> str:
        return f"/chart/{self.chart_id}/"


def view_of(request: CaptureRequest) -> ChartView:
    """Raises `InvalidError` (`invalid_chart`, `invalid_ticker`). An unreadable interval is left out."""
    if not _CHART_ID.fullmatch(request.chart_id):
        raise InvalidError("invalid_chart")
    ticker = request.ticker
    if not 0 < len(ticker) <= _TICKER_MAX_CHARS or not ticker.isprintable() or ticker.isspace():
        raise InvalidError("invalid_ticker")
    return ChartView(request.chart_id, ticker, interval_code(request.interval))


def interval_code(text: str | None) -> str | None:
    """TradingView's code of an interval as people write it: `4h` is `240`, `D` is `1D`, `15m` is `15`.

    An upper-case `M` alone means months, as in TradingView's own codes. None for what cannot be read.
    """
    match = _SPOKEN_INTERVAL.fullmatch((text or "").strip())
    if match is None or not any(match.groups()):
        return None
    count, letter = _counted(int(match[1] or 1), match[2])
    return f"{count}{letter}" if 1 <= count <= _MOST.get(letter, 0) else None


def _counted(count: int, unit: str) -> tuple[int, str]:
    """How many of which of TradingView's units; a letter it does not have stands for an unknown one."""
    if unit == "M":
        return count, unit
    word = unit.lower()
    # the plural, but not the `s` of seconds
    word = word[:-1] if len(word) > 1 and word.endswith("s") else word
    if word in _MINUTE_WORDS:
        return count * _MINUTE_WORDS[word], ""
    return count, _LETTERS.get(word, "?")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
