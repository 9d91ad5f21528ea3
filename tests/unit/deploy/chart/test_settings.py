from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from deploy.local.chart.settings import ChartSiteSettings


def _settings(host: str) -> ChartSiteSettings:
    return ChartSiteSettings(host=host, secret=SecretStr("x" * 16), library=Path())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_serves_loopback(host: str) -> None:
    """Any loopback address will do."""
    assert _settings(host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_serves_nothing_but_loopback(host: str) -> None:
    """The look-alike is no site for others: it starts on no other address."""
    with pytest.raises(ValidationError):
        _settings(host)


def test_secret_must_be_worth_the_name() -> None:
    """A short secret is refused."""
    with pytest.raises(ValidationError):
        ChartSiteSettings(secret=SecretStr("short"), library=Path())
