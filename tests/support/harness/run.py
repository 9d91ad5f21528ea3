"""Runs workers as processes, and looks at what they have done."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import asyncpg
import msgspec

from schemas.topics import DEADLETTERS
from tests.support.broker import group_state, lag, make_topics, produce, read_all, topic_names
from tests.support.harness.effect import QUERIES
from tests.support.harness.spec import Event, Flavour, WorkerSpec
from tests.support.stack import ROOT, Databases
from tests.support.waiting import eventually

DEADLINE_S: Final = 12.0
"""Within which a worker ends after SIGTERM."""

PATIENCE_S: Final = 60.0

_TRACEBACK_S: Final = 2.0
_REAPED_S: Final = 0.2

WORKER: Final = "tests.support.harness.worker"

Ending = int | Literal["hung"]


@dataclass
class Worker:
    """A running worker and all lines it has written so far."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    ending: Ending | None = None

    async def said(self, *lines: str, within_s: float = PATIENCE_S) -> None:
        """Returns once it has said every one of these lines. Fails with all its lines when it does not."""
        try:
            async with asyncio.timeout(within_s), self.changed:
                await self.changed.wait_for(lambda: set(lines) <= set(self.lines))
        except TimeoutError:
            text = "\n".join(self.lines)
            raise AssertionError(f"not said: {set(lines) - set(self.lines)}\n{text}") from None

    def ids(self, step: str) -> list[str]:
        """What it has said of this step, in order: `ids("done")`."""
        return [line.removeprefix(f"{step} ") for line in self.lines if line.startswith(f"{step} ")]

    def tell_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self, deadline_s: float = DEADLINE_S) -> Ending:
        """Exit code (negative: the signal), or "hung": then it is killed."""
        try:
            async with asyncio.timeout(deadline_s):
                self.ending = await self.process.wait()
        except TimeoutError:
            # a broker that starts holds this loop up for seconds: the process may have ended long ago
            await asyncio.sleep(_REAPED_S)
            self.ending = self.process.returncode
            if self.ending is None:
                self.ending = "hung"
                await self._tell_where()
                await self.kill()
        return self.ending

    async def terminate(self, deadline_s: float = DEADLINE_S) -> Ending:
        """SIGTERM, and `ended`."""
        self.tell_to_stop()
        return await self.ended(deadline_s)

    async def _tell_where(self) -> None:
        """What its threads do, among its lines."""
        self.process.send_signal(signal.SIGABRT)
        with suppress(TimeoutError):
            async with asyncio.timeout(_TRACEBACK_S):
                await self.process.wait()

    async def kill(self) -> None:
        """SIGKILL, to it and all it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    async def read(self) -> None:
        if self.process.stdout is None:
            raise AssertionError("started without a pipe")
        async for line in self.process.stdout:
            async with self.changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self.changed.notify_all()


@asynccontextmanager
async def running(spec: WorkerSpec, module: str = WORKER) -> AsyncIterator[Worker]:
    """A worker that has said nothing yet; killed on exit unless it has ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        msgspec.json.encode(spec).decode(),
        cwd=ROOT,
        start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=2**20,
    )
    worker = Worker(process)
    reading = asyncio.create_task(worker.read())
    try:
        yield worker
    finally:
        await worker.kill()
        await reading


@dataclass(frozen=True)
class Scene:
    """A topic, a group and a database of their own, for one flavour."""

    flavour: Flavour
    bootstrap: str
    topic: str
    database_url: str

    @property
    def group(self) -> str:
        return f"group-{self.topic}"

    def spec(self, **values: Any) -> WorkerSpec:
        """For a worker of this scene. An `instance_id` and `faust` go to the flavour that knows them."""
        foreign = "instance_id" if self.flavour == "plain" else "faust"
        return WorkerSpec(
            flavour=self.flavour,
            bootstrap=self.bootstrap,
            group=self.group,
            topic=self.topic,
            database_url=self.database_url,
            **{name: value for name, value in values.items() if name != foreign},
        )

    async def produce(self, events: Iterable[Event], partition: int = 0) -> None:
        """Each under a key of its own, as tenants have: jobs beside each other share none."""
        await produce(self.bootstrap, self.topic, [event.encode() for event in events], partition, key=None)

    async def open_gate(self) -> None:
        """Held events can be done from now on."""
        connection = await asyncpg.connect(self.database_url)
        await connection.execute(QUERIES["open_gate"])
        await connection.close()

    async def effects(self) -> set[str]:
        return {row["id"] for row in await self._fetch("effects")}

    async def deliveries(self) -> list[tuple[str, str, str]]:
        """Id, worker and step of everything that was recorded, in order."""
        return [(row["id"], row["worker"], row["step"]) for row in await self._fetch("deliveries")]

    async def dead_letters(self) -> list[str]:
        """Ids of this topic's events among the dead letters, repeats included."""
        records = await read_all(self.bootstrap, DEADLETTERS.name)
        return [
            msgspec.json.decode(record.value, type=Event).id
            for record in records
            if dict(record.headers)["dl_topic"] == self.topic.encode()
        ]

    async def lag(self) -> int:
        """End offsets minus committed offsets, over all partitions."""
        return await lag(self.bootstrap, self.group, self.topic)

    async def state(self) -> tuple[str, int]:
        """The group's, as the coordinator calls it, and its number of members."""
        return await group_state(self.bootstrap, self.group)

    async def is_stable(self, members: int) -> None:
        """Waits until the group has this many members and all of them know their partitions."""

        async def stable() -> bool:
            return await self.state() == ("Stable", members)

        await eventually(stable)

    async def done(self, *ids: str) -> None:
        """Waits until these have their effect."""

        async def all_done() -> bool:
            return set(ids) <= await self.effects()

        await eventually(all_done)

    async def all_committed(self) -> None:
        """Waits until committed offsets equal the end offsets."""

        async def nothing_left() -> bool:
            return await self.lag() == 0

        await eventually(nothing_left)

    async def _fetch(self, query: str) -> Sequence[Any]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetch(QUERIES[query])
        finally:
            await connection.close()


@dataclass(frozen=True)
class Twins:
    """The same scene for plain Faust and for ours."""

    plain: Scene
    ours: Scene


@asynccontextmanager
async def twins(bootstrap: str, databases: Databases, partitions: int = 1) -> AsyncIterator[Twins]:
    async with (
        scene("plain", bootstrap, databases, partitions) as plain,
        scene("ours", bootstrap, databases, partitions) as ours,
    ):
        yield Twins(plain, ours)


@asynccontextmanager
async def started(place: Scene, **values: Any) -> AsyncIterator[Worker]:
    """A worker that is a member of its group."""
    async with running(place.spec(**values)) as worker:
        await worker.said("started")
        yield worker


@asynccontextmanager
async def scene(
    flavour: Flavour, bootstrap: str, databases: Databases, partitions: int = 1
) -> AsyncIterator[Scene]:
    """Everything made; the database is gone on exit."""
    topic = f"harness-{flavour}-{secrets.token_hex(4)}"
    await make_topics(bootstrap, **{topic: partitions})
    if DEADLETTERS.name not in await topic_names(bootstrap):
        await make_topics(bootstrap, **{DEADLETTERS.name: 1})
    with databases.database() as url:
        connection = await asyncpg.connect(url)
        await connection.execute(QUERIES["create_tables"])
        await connection.close()
        yield Scene(flavour, bootstrap, topic, url)


async def assert_nothing_lost(
    scene: Scene, accepted: Iterable[Event], workers: Iterable[Worker], poison: Iterable[Event] = ()
) -> None:
    """Effects are the accepted events without the poison, which is dead letters; all is committed.

    Every worker has drained and ended by itself, within its deadline.
    """
    poison_ids = {event.id for event in poison}
    assert await scene.effects() == {event.id for event in accepted} - poison_ids
    assert sorted(await scene.dead_letters()) == sorted(poison_ids)
    assert await scene.lag() == 0
    assert {worker.ending for worker in workers} == {0}
