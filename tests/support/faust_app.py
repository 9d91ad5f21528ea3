"""A stand-in for a Faust app, as far as the harness looks at one."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


@dataclass
class FakeApp:
    """What the harness looks at of a Faust app."""

    rebalancing: bool = False
    crashed: bool = False
    consumer_generation_id: int | None = 1
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    acked: list[int] = field(default_factory=list)
    coordinator: Any = None
    is_flowing: bool = True
    consumer: Any = field(default_factory=lambda: SimpleNamespace(unacked=set()))

    @property
    def flow_control(self) -> Any:
        return SimpleNamespace(is_active=lambda: self.is_flowing)

    @property
    def _consumer(self) -> Any:
        """As deep as the coordinator lies in a real app."""
        thread = SimpleNamespace(_consumer=SimpleNamespace(_coordinator=self.coordinator))
        return SimpleNamespace(_thread=thread)

    def event(self, offset: int, generation: int) -> Any:
        message = SimpleNamespace(generation_id=generation)
        return SimpleNamespace(message=message, ack=lambda: self.acked.append(offset))

    async def stop(self) -> None:
        await self.stopped.wait()
