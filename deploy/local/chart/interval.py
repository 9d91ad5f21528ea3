"""Intervals as TradingView writes them: `5` minutes, `10S`, `D`, `2W`, `3M`; `15M` is fifteen months."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from runtime.clock import utc_from_ms

_CODE: Final = re.compile(r"([0-9]{0,4})([SDWM]?)")
_MOST: Final = {"S": 999, "": 1440, "D": 365, "W": 52, "M": 12}
_UNIT_MS: Final = {"S": 1_000, "": 60_000, "D": 86_400_000, "W": 604_800_000, "M": 2_629_800_000}
_UNIT_WORDS: Final = {"S": "second", "": "minute", "D": "day", "W": "week", "M": "month"}
# The epoch was a Thursday; weeks start on Monday.
_MONDAY_MS: Final = 4 * 86_400_000
_HOUR_MINUTES: Final = 60


@dataclass(frozen=True, slots=True)
class Interval:
    """Bars are numbered from the epoch; a bar covers `start_ms(index)` up to `start_ms(index + 1)`."""

    code: str
    count: int
    unit: str

    @property
    def bar_ms(self) -> int:
        """Length of a bar; of months the mean."""
        return self.count * _UNIT_MS[self.unit]

    @property
    def words(self) -> str:
        if not self.unit and self.count % _HOUR_MINUTES == 0:
            return _plural(self.count // _HOUR_MINUTES, "hour")
        return _plural(self.count, _UNIT_WORDS[self.unit])

    def index_at(self, unix_ms: int) -> int:
        if self.unit == "M":
            day = utc_from_ms(unix_ms)
            return (day.year * 12 + day.month - 1) // self.count
        return (unix_ms - self._offset_ms) // self.bar_ms

    def start_ms(self, index: int) -> int:
        if self.unit == "M":
            year, month = divmod(index * self.count, 12)
            return int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp()) * 1000
        return index * self.bar_ms + self._offset_ms

    @property
    def _offset_ms(self) -> int:
        return _MONDAY_MS if self.unit == "W" else 0


LAYOUT_INTERVAL: Final = Interval("60", 60, "")


def parse_interval(code: str) -> Interval | None:
    """None when the site does not know the code; a letter alone counts one."""
    match = _CODE.fullmatch(code) if code else None
    if match is None:
        return None
    count = int(match[1] or "1")
    return Interval(code, count, match[2]) if 1 <= count <= _MOST[match[2]] else None


def interval_or_default(code: str) -> Interval:
    """Like the real site, a code it does not know gives the layout's own interval."""
    return parse_interval(code) or LAYOUT_INTERVAL


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
