"""What a worker process of the harness tests is told, and the events it works on."""

from typing import Any, Literal

import msgspec

Flavour = Literal["plain", "ours"]
Form = Literal["single", "batch", "jobs"]
Fail = Literal["once", "always", "invalid", "transient"]


class WorkerSpec(msgspec.Struct, frozen=True):
    """`faust` holds extra settings of the plain flavour, `instance_id` is for ours alone."""

    flavour: Flavour
    bootstrap: str
    group: str
    topic: str
    database_url: str
    form: Form = "single"
    name: str = "worker"
    instance_id: str | None = None
    faust: dict[str, Any] = {}


class Event(msgspec.Struct, frozen=True):
    """`sleep_s` is how long its work takes; `fail` "once" and "transient" are once in each process.

    Work on one that is `held` goes on until the scene's gate is opened.
    """

    id: str
    sleep_s: float = 0.0
    fail: Fail | None = None
    held: bool = False

    def encode(self) -> bytes:
        return msgspec.json.encode(self)
