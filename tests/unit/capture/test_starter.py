import os
from pathlib import Path

import pytest

from capture.browser import BrowserStartError
from capture.chart import Origin
from capture.contexts import Warmth
from capture.site import load_site
from capture.starter import BrowserPlan, BrowserStarter, resolver_rules
from tests.support.clock import FakeClock

SITE = load_site(None)


@pytest.mark.parametrize(
    ("origin", "rules"),
    [
        ("http://127.0.0.1:8090", "MAP 127.0.0.1:8090 127.0.0.1:8090, MAP * ~NOTFOUND"),
        ("https://chart.example", "MAP chart.example:443 chart.example:443, MAP * ~NOTFOUND"),
        (
            "https://www.tradingview.com",
            "EXCLUDE tradingview.com, EXCLUDE *.tradingview.com, MAP * ~NOTFOUND",
        ),
    ],
)
def test_only_the_site_can_be_reached(origin: str, rules: str) -> None:
    """The real site with its own other hosts, any other origin alone."""
    assert resolver_rules(Origin.parse(origin), SITE) == rules


async def test_a_program_that_is_no_browser_does_not_start(tmp_path: Path) -> None:
    """Its last words are in the error, and neither process nor folder is left."""
    program = tmp_path / "browser"
    program.write_text("#!/bin/sh\necho cannot open display >&2\nexit 1\n")
    program.chmod(0o755)
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    plan = BrowserPlan(program, None, profiles, Origin.parse("http://127.0.0.1:1"), SITE, Warmth(1, 1))
    with pytest.raises(BrowserStartError, match="cannot open display"):
        await BrowserStarter(plan, FakeClock()).start()
    assert os.listdir(profiles) == []  # noqa: PTH208 - names only


async def test_a_program_that_cannot_be_executed_does_not_start(tmp_path: Path) -> None:
    """A file without leave to execute it is told by name of the error."""
    program = tmp_path / "browser"
    program.write_text("")
    plan = BrowserPlan(program, None, tmp_path, Origin.parse("http://127.0.0.1:1"), SITE, Warmth(1, 1))
    with pytest.raises(BrowserStartError, match="PermissionError"):
        await BrowserStarter(plan, FakeClock()).start()
    assert os.listdir(tmp_path) == ["browser"]  # noqa: PTH208 - names only
