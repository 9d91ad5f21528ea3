"""Plain Faust and ours side by side: the same events and the same fault, at the same time."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.support.harness.feed import Feed, feeding
from tests.support.harness.run import WORKER, Ending, Scene, Worker, running, scene
from tests.support.harness.spec import Event, Flavour, WorkerSpec
from tests.support.stack import Databases


@dataclass
class Side:
    """One flavour's topic, group, database and workers. `database_url` None: the database's own."""

    place: Scene
    feed: Feed
    processes: AsyncExitStack
    workers: list[Worker] = field(default_factory=list)
    database_url: str | None = None

    def spec(self, **values: Any) -> WorkerSpec:
        spec = self.place.spec(**values)
        return msgspec.structs.replace(spec, database_url=self.database_url or spec.database_url)

    async def start(self, module: str = WORKER, **values: Any) -> Worker:
        """A worker that is a member of its group."""
        return await self.run(self.spec(**values), module)

    async def run(self, spec: WorkerSpec, module: str = WORKER) -> Worker:
        worker = await self.processes.enter_async_context(running(spec, module))
        self.workers.append(worker)
        await worker.said("started")
        return worker

    async def flow(self, worker: Worker, events: Sequence[Event]) -> None:
        """Offer the events and wait until the worker has done them."""
        await self.feed.offer_all(events)
        await worker.said(*(f"done {event.id}" for event in events))

    async def lost(self) -> set[str]:
        """Accepted and without effect, although everything is committed."""
        await self.place.all_committed()
        return {event.id for event in await self.feed.accepted()} - await self.place.effects()

    async def nothing_lost(self) -> None:
        """Effects are exactly the accepted events, all is committed, and no worker outlived its deadline."""
        assert await self.place.effects() == {event.id for event in await self.feed.accepted()}
        assert await self.place.dead_letters() == []
        assert await self.place.lag() == 0
        endings = [worker.ending for worker in self.workers]
        assert not {None, "hung"} & set(endings), endings


@asynccontextmanager
async def side(flavour: Flavour, bootstrap: str, databases: Databases) -> AsyncIterator[Side]:
    async with (
        scene(flavour, bootstrap, databases) as place,
        feeding(bootstrap, place.topic) as feed,
        AsyncExitStack() as processes,
    ):
        yield Side(place, feed, processes)


@asynccontextmanager
async def sides(bootstrap: str, databases: Databases) -> AsyncIterator[tuple[Side, Side]]:
    """Plain, ours."""
    async with side("plain", bootstrap, databases) as plain, side("ours", bootstrap, databases) as ours:
        yield plain, ours


async def end(workers: Iterable[Worker]) -> list[Ending]:
    """Ask all to stop at once."""
    return await asyncio.gather(*(worker.terminate() for worker in workers))


def batch_of(name: str, count: int, sleep_s: float = 0.0) -> list[Event]:
    return [Event(f"{name}{number}", sleep_s) for number in range(count)]
