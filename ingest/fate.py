"""What is known of a record that was to be made durable."""

from enum import Enum, auto


class Fate(Enum):
    """What is known of a record when its deadline is over; of several ways to deliver, the first counts."""

    ACKED = auto()
    """Written by all replicas in sync."""
    SPOOLED = auto()
    """Synced to the local disk."""
    UNKNOWN = auto()
    """Handed over, not acked: it may be written yet."""
    REFUSED = auto()
    """Never handed to anybody: it will not be written."""
    IMPOSSIBLE = auto()
    """Kafka will never take this record, as when its topic allows less than we send."""

    @property
    def durable(self) -> bool:
        return self is Fate.ACKED or self is Fate.SPOOLED
