"""How the site behaves for a chart id. Reserved ids get a state of their own here."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_PUBLIC_PREFIX: Final = "Public"


@dataclass(frozen=True, slots=True)
class ChartState:
    """`anonymous`: whether the signed-out see the chart."""

    anonymous: bool = False


RESERVED: Final[Mapping[str, ChartState]] = MappingProxyType({})
"""States by chart id; what is not listed is an ordinary chart."""


def state_of(chart_id: str) -> ChartState:
    return RESERVED.get(chart_id) or ChartState(anonymous=chart_id.startswith(_PUBLIC_PREFIX))
