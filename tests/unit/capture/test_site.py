from importlib import resources
from pathlib import Path

import pytest

from capture.chart import Origin
from capture.outcomes import Outcome
from capture.site import load_site
from runtime.errors import FatalError

SHIPPED = (resources.files("capture") / "site.toml").read_text("utf-8")


def test_the_file_shipped_is_complete() -> None:
    """It loads, and it knows the states that every site has."""
    site = load_site(None)
    outcomes = {blocker.outcome for blocker in site.blockers}
    assert outcomes == {
        Outcome.SESSION_EXPIRED,
        Outcome.SYMBOL_UNKNOWN,
        Outcome.LAYOUT_NOT_FOUND,
        Outcome.CONNECTION_LIMIT,
        Outcome.ACCOUNT_FLAGGED,
        Outcome.CAPTCHA,
    }


def test_an_operators_file_replaces_it(tmp_path: Path) -> None:
    """A change of the site needs no change of code."""
    file = tmp_path / "site.toml"
    file.write_text(SHIPPED.replace('domain = "tradingview.com"', 'domain = "example.org"'))
    assert load_site(file).domain == "example.org"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("version = 3", "version = 3\nverison = 4"),
        ("loader =", "spinner ="),
        ('outcome = "symbol_unknown"', 'outcome = "no_such_outcome"'),
        ('outcome = "captcha"', 'outcome = "completed"'),
        ("[page]", "[page"),
    ],
)
def test_a_mistake_in_the_file_ends_the_start(tmp_path: Path, before: str, after: str) -> None:
    """A signal that nobody reads must not pass for one that is never seen."""
    file = tmp_path / "site.toml"
    file.write_text(SHIPPED.replace(before, after, 1))
    with pytest.raises(FatalError, match=r"site\.toml"):
        load_site(file)


def test_a_missing_file_ends_the_start(tmp_path: Path) -> None:
    """It was asked for by name."""
    with pytest.raises(FatalError, match="nowhere"):
        load_site(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("origin", "included"),
    [
        ("https://www.tradingview.com", True),
        ("https://tradingview.com", True),
        ("https://eviltradingview.com", False),
        ("https://tradingview.com.evil.org", False),
        ("http://127.0.0.1:8090", False),
    ],
)
def test_only_the_domain_itself_is_the_real_site(origin: str, included: bool) -> None:  # noqa: FBT001 - a table
    """A name that only looks like it gets no access to the domain's other hosts."""
    assert load_site(None).includes(Origin.parse(origin)) is included


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, None),
        (304, None),
        (403, "access_denied"),
        (404, "layout_not_found"),
        (429, "rate_limited"),
        (500, "site_error"),
        (418, "site_error"),
    ],
)
def test_an_http_status_means_an_outcome(status: int, outcome: str | None) -> None:
    """Unknown ones are faults of the site, and tried again."""
    assert load_site(None).outcome_of_status(status) == outcome
