"""What a chart page reports about itself, by one script that runs in it."""

import json
from importlib import resources
from typing import Any, Final, Literal

import msgspec

from capture.chart import ChartView
from capture.outcomes import TOLD_BY_THE_SITE, Outcome
from capture.site import Site

BINDING: Final = "alertsCaptureReport"
"""The function through which the page reports."""

PROBE: Final = "alertsCaptureLook"
"""The function that tells the present state when asked."""

_SCRIPT: Final = (resources.files("capture") / "readiness.js").read_text("utf-8")


class Report(msgspec.Struct, frozen=True):
    """One change of state, in the page's order; a new document starts again with `document`.

    `outcome` is set on `blocked`, and on `document` when it is a page without a chart. `missing` names what
    a `waiting` page lacks. `capped`: it settled only because time was up.
    """

    kind: Literal["document", "waiting", "ready", "settled", "blocked"]
    signed_in: bool = True
    outcome: Outcome | None = None
    missing: tuple[str, ...] = ()
    capped: bool = False


class Look(msgspec.Struct, frozen=True):
    """The page's state at one moment: the picture is what was asked for when the first two are empty.

    `pane` is the chart's part of the viewport: left, top, right and bottom in CSS pixels.
    """

    outcome: Outcome | None
    missing: tuple[str, ...]
    pane: tuple[int, int, int, int] | None = None


_reports: Final = msgspec.json.Decoder(Report)
_looks: Final = msgspec.json.Decoder(Look)


def readiness_script(site: Site, view: ChartView) -> str:
    """The source to evaluate before any script of the page."""
    signals: dict[str, Any] = {**msgspec.to_builtins(site), "binding": BINDING, "probe": PROBE}
    wanted = {"symbol": view.ticker, "interval": view.interval}
    # A line comment heads the file: hence the line break.
    return f"(\n{_SCRIPT})({json.dumps(signals)}, {json.dumps(wanted)});"


def read_report(payload: str) -> Report | None:
    """None for what the script did not write: pages can call the binding too."""
    try:
        report = _reports.decode(payload)
    except msgspec.MsgspecError:
        return None
    return report if _may_be_told(report.outcome) else None


def read_look(payload: object) -> Look | None:
    """None for anything else, such as a page that has been left."""
    try:
        look = _looks.decode(payload) if isinstance(payload, str) else None
    except msgspec.MsgspecError:
        return None
    return look if look is not None and _may_be_told(look.outcome) else None


def _may_be_told(outcome: Outcome | None) -> bool:
    return outcome is None or outcome in TOLD_BY_THE_SITE
