"""The chart page's signals as configuration, so that a change of the site needs no code."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from capture.chart import Origin
from capture.outcomes import TOLD_BY_THE_SITE, Outcome
from runtime.errors import FatalError


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file. Whatever it holds must be known here."""


class PageSelectors(_Part, frozen=True):
    signed_in: str
    legend_symbol: str
    legend_interval: str
    loader: str
    canvas: str
    hidden: list[str]


class PageApi(_Part, frozen=True):
    chart: list[str]
    symbol: str
    interval: str
    ready: str
    bars: str


class SessionPageSignals(_Part, frozen=True):
    """Classes of the root element of a page that needs no browser."""

    path: str
    signed_in: str
    signed_out: str


class Blocker(_Part, frozen=True):
    selector: str
    outcome: Outcome


class Settling(_Part, frozen=True):
    quiet_share: float
    quiet_min_ms: int
    quiet_max_ms: int
    cap_ms: int
    wrong_chart_ms: int
    blank_ms: int
    columns: int
    rows: int
    cell_change: int
    changed_share: float
    contrast: int
    stale_share: float


class Site(_Part, frozen=True):
    """One version of the site's signals; what each means is said in `site.toml`."""

    version: int
    domain: str
    page: PageSelectors
    api: PageApi
    session_page: SessionPageSignals
    blockers: list[Blocker]
    statuses: dict[str, Outcome]
    settle: Settling

    def includes(self, origin: Origin) -> bool:
        """Whether the origin is the real site rather than a look-alike."""
        return f".{origin.host}".endswith(f".{self.domain}")

    def outcome_of_status(self, status: int) -> Outcome | None:
        """None: the page itself decides."""
        if status < 400:  # noqa: PLR2004 - HTTP's own boundary
            return None
        return self.statuses.get(str(status), Outcome.SITE_ERROR)


def load_site(path: Path | None) -> Site:
    """The file given, or the one shipped. Raises `FatalError` naming what is wrong with it."""
    source = path if path is not None else resources.files("capture") / "site.toml"
    try:
        document: dict[str, Any] = tomllib.loads(source.read_text("utf-8"))
        return _checked(msgspec.convert(document, Site))
    except (OSError, ValueError) as error:
        raise FatalError(f"site file {source}: {error}") from error


def _checked(site: Site) -> Site:
    named = {blocker.outcome for blocker in site.blockers} | set(site.statuses.values())
    strange = sorted(named - TOLD_BY_THE_SITE)
    if strange:
        raise ValueError(f"no state of a site: {', '.join(strange)}")
    return site
