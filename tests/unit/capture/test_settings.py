from pathlib import Path

import pytest

from capture.settings import CaptureSettings
from runtime.settings import SettingsError, load_settings

NEEDED = {
    "KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "DATABASE_URL": "postgresql://127.0.0.1/alerts",
    "STORAGE_DIRECTORY": "/var/lib/alerts/pictures",
    "STORAGE_KEY_SECRET": "a secret of the pictures",
    "ENCRYPTION_KEYS": "k1:" + "A" * 43 + "=",
}


def test_the_defaults_are_the_designs() -> None:
    """Three slots, three tries of thirty seconds, the real site."""
    settings = load_settings(CaptureSettings, NEEDED)
    assert (settings.capture.slots, settings.capture.tries, settings.capture.try_deadline_s) == (3, 3, 30)
    assert settings.capture.browser == Path("/usr/lib/chromium/chromium-headless-shell")
    assert settings.chart.origin == "https://www.tradingview.com"


def test_all_problems_are_told_together() -> None:
    """Among them an origin to which cookies would travel in clear."""
    environ = {**NEEDED, "CAPTURE_SLOTS": "0", "CHART_ORIGIN": "http://www.tradingview.com"}
    with pytest.raises(SettingsError) as error:
        load_settings(CaptureSettings, environ)
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "CAPTURE_SLOTS",
        "CHART_ORIGIN",
    ]
