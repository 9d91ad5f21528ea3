"""The consumer groups of an alert's way: whoever asks how far an alert has come must know their names."""

from collections.abc import Mapping
from typing import Final

from schemas.topics import SIGNALS, SIGNALS_REPLAY, WEBHOOKS_OVERFLOW, WEBHOOKS_RAW, WEBHOOKS_REPLAY, Topic

GROUPS: Final[Mapping[Topic, str]] = {
    WEBHOOKS_RAW: "alerts.process.main",
    WEBHOOKS_OVERFLOW: "alerts.process.overflow",
    WEBHOOKS_REPLAY: "alerts.process.replay",
    SIGNALS: "alerts.sink",
    SIGNALS_REPLAY: "alerts.sink-replay",
}
"""The group that takes an alert from a topic to the next place. A new name would read its topic anew."""
