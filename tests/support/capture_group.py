"""Capture workers as processes on a broker and a database of their own, with renderers that only write."""

import asyncio
import base64
import re
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Final
from uuid import UUID

from aiohttp import ClientSession
from aiokafka.partitioner import DefaultPartitioner

from capture.session import TradingViewSession
from runtime.clock import SystemClock, utc_now
from runtime.ids import SignalIds
from runtime.postgres import Pool
from runtime.publisher import Message, Publisher, open_publisher
from runtime.sessions import session_owner
from schemas.codec import decode, encode
from schemas.plans import Plan
from schemas.records import CaptureEvent, CaptureEventKind, CaptureRequest
from schemas.topics import CAPTURE_EVENTS, CAPTURES, TOPICS
from tests.support.api import pool_of
from tests.support.broker import make_topics, read_all
from tests.support.capture_parts import KEY_SECRET, a_session, capture_request
from tests.support.database_roles import KEYRING
from tests.support.role_process import RoleProcess
from tests.support.stack import ROOT, Databases, kafka_node, run_apart
from tests.support.tenants import insert_tenant, kafka_settings, new_customer
from tests.support.waiting import eventually

PARTITIONS: Final = 24
_CLOCK: Final = SystemClock()
_IDS: Final = SignalIds(_CLOCK)
_STARTED: Final = count()


@dataclass(frozen=True, slots=True)
class PageLine:
    """What a renderer wrote: `open` or `close`; or what a test wrote in between."""

    word: str
    pid: int
    account: str
    ticker: str


@dataclass(frozen=True, slots=True)
class CaptureServers:
    """A broker with `PARTITIONS` partitions a plan, and a database."""

    bootstrap: str
    database_url: str


@dataclass
class CapturePlace:
    """Workers on these servers, in a folder of their own."""

    servers: CaptureServers
    folder: Path
    workers: list[RoleProcess] = field(default_factory=list)

    def render_s(self, seconds: float) -> None:
        """How long a page takes from now on, also for those that are open."""
        (self.folder / "render_s.new").write_text(str(seconds))
        (self.folder / "render_s.new").replace(self.folder / "render_s")

    def mark(self, word: str) -> None:
        with (self.folder / "pages").open("a") as file:
            file.write(f"{word} 0 - -\n")

    def pages(self) -> list[PageLine]:
        path = self.folder / "pages"
        lines = path.read_text().splitlines() if path.exists() else []
        return [
            PageLine(word, int(pid), account, ticker) for word, pid, account, ticker in map(str.split, lines)
        ]

    def worker(self, **changes: str) -> RoleProcess:
        """With a renderer that only writes. Started, not yet ready; killed with the place."""
        worker = self.role("capture", RENDERER_FOLDER=str(self.folder), PYTHONPATH=str(ROOT), **changes)
        arguments = (sys.executable, "-m", "tests.support.capture_role")
        worker.program = replace(worker.program, arguments=arguments)
        worker.start()
        return worker

    def browser_worker(self, origin: str, browser: Path, **changes: str) -> RoleProcess:
        """The role as it is, with a browser that visits `origin`. Not started; killed with the place."""
        place = {"CHART_ORIGIN": origin, "CAPTURE_BROWSER": str(browser), "TMPDIR": str(self.browsers)}
        return self.role("capture", **place, **changes)

    @property
    def browsers(self) -> Path:
        """The folder of the browsers' folders. Their user must get in."""
        folder = self.folder / "browsers"
        folder.mkdir(exist_ok=True)
        for path in (folder, *folder.parents[:2]):
            path.chmod(0o755)
        return folder

    def pictures(self) -> dict[str, bytes]:
        """All that is stored, by key."""
        folder = self.folder / "pictures"
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}

    def role(self, role: str, **changes: str) -> RoleProcess:
        """Not started; killed with the place."""
        values = {
            "KAFKA_BOOTSTRAP": self.servers.bootstrap,
            "DATABASE_URL": self.servers.database_url,
            "STORAGE_DIRECTORY": str(self.folder / "pictures"),
            "STORAGE_KEY_SECRET": KEY_SECRET.get_secret_value(),
            "ENCRYPTION_KEYS": f"k1:{base64.b64encode(b'k' * 32).decode()}",
            "CHART_ORIGIN": "http://127.0.0.1:1",
            "CAPTURE_ACCOUNT_SPACING_S": "0",
            "CAPTURE_ACCOUNT_HOURLY": "0",
            **changes,
        }
        process = RoleProcess(f"{role}-{next(_STARTED)}", (role,), values, self.folder)
        self.workers.append(process)
        return process

    def lose(self, worker: RoleProcess) -> None:
        """Kill it; nobody starts it again."""
        self.workers.remove(worker)
        worker.close()

    def revive(self) -> None:
        """Start what has ended by itself, as a supervisor does: a rebalance may crash the stream."""
        for worker in self.workers:
            if worker.process is not None and not worker.is_running:
                worker.start()

    async def waiting(self, plan: Plan) -> int:
        """Captures of a plan that wait for a slot, in all workers together."""
        ports = [worker.operations_port for worker in self.workers]
        pages = await asyncio.gather(*(metrics_page(port) for port in ports))
        name = re.escape(f'alerts_capture_queue{{plan="{plan.value}"}}')
        return sum(
            round(float(count))
            for page in pages
            for count in re.findall(f"^{name} (.+)$", page, re.MULTILINE)
        )

    def stop(self) -> None:
        """Those that still run leave the group, so that the next test need not wait for it to miss them."""
        running = [worker for worker in self.workers if worker.is_running]
        for worker in running:
            worker.terminate()
        for worker in self.workers:
            worker.close()
        self.workers.clear()


async def metrics_page(operations_port: int) -> str:
    """What a role exposes."""
    url = f"http://127.0.0.1:{operations_port}/metrics"
    async with ClientSession() as session, session.get(url) as answer:
        return await answer.text()


@contextmanager
def capture_servers(databases: Databases) -> Iterator[CaptureServers]:
    with kafka_node() as node, databases.database() as url:
        counts = {topic.name: topic.local_partitions for topic in TOPICS}
        counts |= {topic.name: PARTITIONS for topic in CAPTURES.values()}
        run_apart(make_topics(node.bootstrap, **counts))
        yield CaptureServers(node.bootstrap, url)


@dataclass(frozen=True)
class CaptureGroup:
    """The place with clients of this test's loop."""

    place: CapturePlace
    pool: Pool
    publisher: Publisher

    async def user(
        self, plan: Plan = Plan.PRO, account: str | None = None, partition: int | None = None
    ) -> UUID:
        """A user with captures allowed; the account is their own unless one is named."""
        customer = new_customer(plan)
        while partition is not None and self.partition(customer.tenant.user_id) != partition:
            customer = new_customer(plan)
        await insert_tenant(self.pool, customer)
        user_id = customer.tenant.user_id
        account = account or f"account-{user_id}"
        await self.sign_in(user_id, a_session(sessionid=account))
        return user_id

    async def sign_in(self, user_id: UUID, session: TradingViewSession) -> None:
        values = {"tv_sessionid": session.sessionid, "tv_sessionid_sign": session.sessionid_sign}
        sealed = [KEYRING.encrypt(value, session_owner(column, user_id)) for column, value in values.items()]
        await self.pool.execute(
            "UPDATE user_config SET tv_sessionid = $2, tv_sessionid_sign = $3, tv_cookies_valid = true"
            " WHERE user_id = $1",
            user_id,
            *sealed,
        )

    def request(
        self, user_id: UUID, plan: Plan, ticker: str, signal_id: UUID | None = None
    ) -> CaptureRequest:
        now = utc_now(_CLOCK)
        late = now + timedelta(minutes=15)
        changes = {"signal_id": signal_id or _IDS.mint(), "received_at": now, "capture_by": late}
        return capture_request(1, user_id=user_id, plan=plan, ticker=ticker, **changes)

    async def ask(self, *requests: CaptureRequest) -> None:
        """Put requests on their topics. Returns when the broker has them."""
        await self.publisher.publish(
            [
                Message(CAPTURES[request.plan].name, str(request.user_id).encode(), encode(request), [])
                for request in requests
            ]
        )

    async def events(self, requests: Sequence[CaptureRequest]) -> list[CaptureEvent]:
        """All that was told of these requests so far."""
        ids = {request.signal_id for request in requests}
        records = await read_all(self.place.servers.bootstrap, CAPTURE_EVENTS.name)
        events = [decode(record.value, CaptureEvent) for record in records]
        return [event for event in events if ids.intersection(event.signal_ids)]

    async def ends(self, requests: Sequence[CaptureRequest]) -> list[CaptureEvent]:
        """Once all of these have ended."""

        async def ended() -> list[CaptureEvent] | None:
            self.place.revive()
            events = await self.events(requests)
            ends = [event for event in events if event.kind is not CaptureEventKind.STARTED]
            told = {signal_id for event in ends for signal_id in event.signal_ids}
            return ends if told >= {request.signal_id for request in requests} else None

        return await eventually(ended)

    async def opened(self, ticker: str, times: int = 1) -> PageLine:
        """Once so many pages of a ticker have been opened; the last of them.

        A dead worker's partitions may take longer than others wait: a rebalance may follow upon a rebalance.
        """

        async def look() -> PageLine | None:
            self.place.revive()
            lines = [line for line in self.place.pages() if (line.word, line.ticker) == ("open", ticker)]
            return lines[times - 1] if len(lines) >= times else None

        with suppress(TimeoutError):
            return await eventually(look)
        return await eventually(look)

    @cached_property
    def _partitioner(self) -> DefaultPartitioner:
        return DefaultPartitioner()

    def partition(self, user_id: UUID) -> int:
        places = list(range(PARTITIONS))
        return int(self._partitioner(str(user_id).encode(), places, places))


@asynccontextmanager
async def open_group(servers: CaptureServers, folder: Path) -> AsyncIterator[CaptureGroup]:
    """Its workers end with it."""
    place = CapturePlace(servers, folder)
    try:
        async with (
            pool_of(servers.database_url) as pool,
            open_publisher(kafka_settings(servers.bootstrap), "test") as publisher,
        ):
            yield CaptureGroup(place, pool, publisher)
    finally:
        place.stop()
