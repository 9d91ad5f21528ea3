"""Workers that are started again when they end, as a supervisor does, on a topic of their own."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tests.support.broker import committed_offsets, consumer_of, partitions_of
from tests.support.harness.feed import Feed, feeding
from tests.support.harness.history import Ended, History
from tests.support.harness.run import DEADLINE_S, Scene, Worker, running, scene
from tests.support.harness.spec import Form, WorkerSpec
from tests.support.stack import Databases
from tests.support.waiting import eventually

PARTITIONS: Final = 4

# a supervisor does not start what ends at once in a tight loop
_RESTART_S: Final = 0.2


@dataclass
class Slot:
    """One worker's place, in which a process is until it is left.

    `stories` are the lines of all who were here.
    """

    spec: WorkerSpec
    endings: list[Ended] = field(default_factory=list)
    stories: list[list[str]] = field(default_factory=list)
    worker: Worker | None = None
    _left: bool = False

    async def live(self) -> None:
        while not self._left:
            async with running(self.spec) as worker:
                self.worker = worker
                self.stories.append(worker.lines)
                code = await worker.process.wait()
            self.endings.append(Ended(self.spec.name, worker.ending if worker.ending == "hung" else code))
            await asyncio.sleep(_RESTART_S)

    async def started(self) -> None:
        """The first process is a member of the group; others may have followed."""

        async def said() -> bool:
            return any("started" in story for story in self.stories)

        try:
            await eventually(said)
        except TimeoutError:
            raise AssertionError(f"{self.spec.name} does not start:\n{self.story()}") from None

    def story(self, last: int = 40, number: int = -1) -> str:
        """The last lines of one of the processes here."""
        lines = [line for line in self.stories[number] if not line.startswith(("began", "done"))]
        return "\n".join(lines[-last:])

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    async def terminate(self) -> None:
        """SIGTERM; returns once the process has ended, at its deadline by force. It is started again."""
        self._signal(signal.SIGTERM)
        if self.worker is not None:
            await self.worker.ended(DEADLINE_S)

    async def pause(self, length_s: float) -> None:
        self._signal(signal.SIGSTOP)
        await asyncio.sleep(length_s)
        self._signal(signal.SIGCONT)

    async def leave(self) -> None:
        """The last `terminate`."""
        self._left = True
        await self.terminate()

    def _signal(self, number: signal.Signals) -> None:
        # it may just have ended by itself
        with suppress(ProcessLookupError):
            if self.worker is not None:
                self.worker.process.send_signal(number)


@dataclass
class Arena:
    """A topic of four partitions, its feed and the slots of its group."""

    place: Scene
    feed: Feed
    form: Form
    database_url: str
    slots: list[Slot] = field(default_factory=list)
    living: list["asyncio.Task[None]"] = field(default_factory=list)

    def enter(self, name: str, instance_id: str | None = None) -> Slot:
        spec = self.place.spec(form=self.form, name=name, instance_id=instance_id)
        slot = Slot(msgspec.structs.replace(spec, database_url=self.database_url))
        self.slots.append(slot)
        self.living.append(asyncio.create_task(slot.live(), name=name))
        return slot

    async def leave(self) -> None:
        await asyncio.gather(*(slot.leave() for slot in self.slots))
        await asyncio.gather(*self.living)

    async def history(self) -> History:
        """Of the calm after all."""
        deliveries = await self.place.deliveries()
        committed, ends = await self._offsets()
        return History(
            accepted=await self.feed.partitions(),
            effects=frozenset(await self.place.effects()),
            dead_letters=frozenset(await self.place.dead_letters()),
            began=[event_id for event_id, _worker, step in deliveries if step == "began"],
            done=[event_id for event_id, _worker, step in deliveries if step == "done"],
            committed=committed,
            ends=ends,
            endings=[ended for slot in self.slots for ended in slot.endings],
            serial=self.form != "jobs",
        )

    async def _offsets(self) -> tuple[dict[int, int], dict[int, int]]:
        """Committed and end offsets by partition."""
        bootstrap = self.place.bootstrap
        places = await partitions_of(bootstrap, self.place.topic)
        offsets = await committed_offsets(bootstrap, self.place.group, places)
        async with consumer_of(bootstrap) as consumer:
            ends = await consumer.end_offsets(places)
        committed = {place.partition: offset for place, offset in offsets.items()}
        return committed, {place.partition: int(ends[place]) for place in places}


@asynccontextmanager
async def arena(form: Form, bootstrap: str, databases: Databases) -> AsyncIterator[Arena]:
    """Without workers; those that are there at the end are killed."""
    async with (
        scene("ours", bootstrap, databases, PARTITIONS) as place,
        feeding(bootstrap, place.topic, PARTITIONS) as feed,
    ):
        arena = Arena(place, feed, form, place.database_url)
        try:
            yield arena
        finally:
            for task in arena.living:
                task.cancel()
            await asyncio.gather(*arena.living, return_exceptions=True)
