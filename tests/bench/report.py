"""How the benches of the store say what they measured, and on what."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def show_machine() -> None:
    model = next(
        (line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"machine: {os.cpu_count()} cores, {model}, {platform.machine()},", end=" ")
    print(f"Python {platform.python_version()}, load before {load}", flush=True)


def show_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in [titles, *rows]:
        first, *others = zip(row, widths, strict=True)
        print(first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others), sep="  ")


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def cpu_s_of(pid: int) -> float:
    """User and system time of a living process, and of those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS_PER_S


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
