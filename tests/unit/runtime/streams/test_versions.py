"""A library that has changed under the harness is noticed before it can lose anything."""

from types import MappingProxyType

import pytest

from runtime.errors import FatalError
from runtime.settings import KafkaSettings
from runtime.streams import versions
from runtime.streams.app import create_app
from runtime.streams.transport import _is_known_loop
from runtime.streams.versions import PINNED, SAFETY, SPEED, changed, check_versions


def test_the_installed_libraries_are_the_known_ones() -> None:
    """Fails when an upgrade touches what is overridden: read the change, then renew the fingerprint."""
    check_versions()
    assert changed(SAFETY) == []
    assert changed(SPEED) == []


def test_a_changed_method_or_version_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """No app is made, and the message names both."""
    first = next(iter(SAFETY))
    monkeypatch.setattr(versions, "SAFETY", MappingProxyType({**SAFETY, first: "another"}))
    monkeypatch.setattr(versions, "PINNED", MappingProxyType({**PINNED, "aiokafka": "0.0.1"}))
    with pytest.raises(FatalError, match=f"aiokafka 0.14.0 instead of 0.0.1, {first.__qualname__}"):
        create_app("group", KafkaSettings.model_validate({"bootstrap": "one:9092"}))


def test_a_changed_loop_falls_back_to_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow and right beats quick and unknown."""
    assert _is_known_loop()
    changed_speed = MappingProxyType({next(iter(SPEED)): "another"})
    monkeypatch.setattr("runtime.streams.transport.SPEED", changed_speed)
    assert not _is_known_loop()
