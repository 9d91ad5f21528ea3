"""The capture role's shell: from the four plan topics into the worker, and its events back to Kafka."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from capture.attempt import Studio
from capture.chart import Origin
from capture.engine import Engine, open_engine
from capture.leases import AccountLeases, AccountTerms
from capture.progress import ProgressStore
from capture.session import SessionStore
from capture.session_check import CheckClaims, CheckParts, SessionCheck
from capture.session_page import open_session_page
from capture.settings import CaptureSettings
from capture.site import load_site
from capture.storage_choice import open_picture_store
from capture.storage_keys import key_of_request
from capture.worker import CaptureWorker, WorkerLimits, WorkerParts
from runtime.backlog import CAPTURE_GROUP
from runtime.encryption import KeyRing, parse_keys
from runtime.errors import InvalidError, TransientError
from runtime.ids import SignalIds
from runtime.postgres import Pool, open_pool, ping
from runtime.process import ProcessContext, guarded
from runtime.publisher import Message, Publisher, open_publisher
from runtime.streams.intake import Intake, IntakeClosed
from runtime.streams.record import StreamRecord
from runtime.streams.service import StreamSettings, run_app
from runtime.streams.settle import LeaveUnfinished, SettleContext, Settler
from runtime.streams.subscription import Subscription
from runtime.streams.watchdog import WatchLimits
from schemas.codec import RecordDecodeError, decode, encode
from schemas.headers import CAPTURE_EVENT_TYPE, CloudEvent, event_headers, traceparent
from schemas.plans import Plan
from schemas.records import CaptureEvent, CaptureRequest
from schemas.topics import CAPTURE_EVENTS, CAPTURES

ADMIT_BATCH: Final = 5000
"""After a crash a full queue of 20,000 is read again: a few questions to the database, not one a request."""

WATCH_LIMITS: Final = WatchLimits(unready_s=1200.0, unacked_s=2400.0)
"""A request may wait as long as its picture is of use, 15 minutes by default, and is tried then."""

STREAM_STOP_S: Final = 3.5
"""What is kept of the drain deadline for leaving the group and ending the browser."""


@dataclass(frozen=True, slots=True)
class AdmittedRequest:
    """Acknowledges a request's record when its end is durable."""

    settler: Settler
    record: StreamRecord

    def done(self) -> None:
        self.settler.finish([self.record])


@dataclass(frozen=True, slots=True)
class PlanIntakes:
    """The intakes of all plans as one, by topic."""

    by_topic: Mapping[str, Intake]

    def owns(self, record: StreamRecord) -> bool:
        return self.by_topic[record.source.topic].owns(record)

    def finish(self, record: StreamRecord) -> None:
        self.by_topic[record.source.topic].finish(record)


@asynccontextmanager
async def serve_capture(settings: CaptureSettings, context: ProcessContext) -> AsyncIterator[None]:
    """On exit: admit nothing more, finish what the slots hold within the drain deadline, leave the rest."""
    capture, clock = settings.capture, context.clock
    async with (
        open_pool(settings.postgres, "capture") as pool,
        open_publisher(settings.kafka, "alerts-capture") as publisher,
        open_picture_store(settings.storage, context) as store,
        open_engine(settings, clock) as engine,
        renewing(_leases(settings, pool, context), context) as leases,
    ):
        context.readiness.add("postgres", lambda: ping(pool))
        context.readiness.add("browser", partial(_check_browser, engine))
        parts = WorkerParts(
            Studio(engine, _sessions(settings, pool), store, _names(settings), clock),
            leases,
            ProgressStore(pool),
            partial(publish_event, publisher),
            clock,
            context.metrics,
            random.random,
        )
        worker = CaptureWorker(parts, WorkerLimits(capture.slots, capture.tries, capture.queue_capacity))
        async with (
            _checking_sessions(parts, pool, settings, context),
            _working(worker, context),
            _admitting(worker, publisher, settings, context),
        ):
            yield


@asynccontextmanager
async def _checking_sessions(
    parts: WorkerParts, pool: Pool, settings: CaptureSettings, context: ProcessContext
) -> AsyncIterator[None]:
    """Under leases of its own: under the worker's, a check could run beside a capture of the same account."""
    capture = settings.capture
    if not capture.session_check_hours:
        yield
        return
    claims = CheckClaims(pool, context.clock, capture.session_check_hours * 3600)
    async with (
        open_session_page(Origin.parse(settings.chart.origin), load_site(capture.site_file)) as page,
        renewing(_leases(settings, pool, context), context) as leases,
    ):
        sessions = parts.studio.sessions
        check = SessionCheck(CheckParts(claims, sessions, leases, page, parts.publish, context.clock))
        task = asyncio.create_task(guarded(check.run(), context), name="session-check")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def renewing(leases: AccountLeases, context: ProcessContext) -> AsyncIterator[AccountLeases]:
    """Renews them in a task of its own; lets go of them on exit."""
    task = asyncio.create_task(guarded(leases.run(), context), name="lease-renewal")
    try:
        yield leases
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await leases.close()


def _leases(settings: CaptureSettings, pool: Pool, context: ProcessContext) -> AccountLeases:
    terms = AccountTerms(settings.capture.account_spacing_s, settings.capture.account_hourly)
    return AccountLeases(
        pool, SignalIds(context.clock).mint(), settings.storage.key_secret, terms, context.clock
    )


async def publish_event(publisher: Publisher, event: CaptureEvent) -> None:
    """Returns when the event is durable."""
    envelope = CloudEvent(
        id=f"{event.signal_ids[0]}/{event.request_no}/{event.kind}",
        type=CAPTURE_EVENT_TYPE,
        source="capture",
        time=event.occurred_at,
        traceparent=traceparent(event.signal_ids[0], secrets.randbits(64)),
    )
    key = str(event.user_id).encode()
    await publisher.publish([Message(CAPTURE_EVENTS.name, key, encode(event), event_headers(envelope))])


async def admit(intake: Intake, worker: CaptureWorker, settler: Settler) -> None:
    """Hand every record of one plan over to the worker, until the intake is closed.

    The worker's capacity is the bound: while it is full nothing more is read.
    """
    try:
        while True:
            await _submit(await intake.take(ADMIT_BATCH), worker, settler)
    except (IntakeClosed, LeaveUnfinished):
        return


async def _submit(records: Sequence[StreamRecord], worker: CaptureWorker, settler: Settler) -> None:
    offers = []
    for record in records:
        try:
            request = decode(record.value, CaptureRequest)
        except RecordDecodeError as error:
            await settler.bury(record, InvalidError("bad_record", str(error)))
        else:
            offers.append((request, AdmittedRequest(settler, record)))
    if offers:
        await worker.submit_all(offers)


@asynccontextmanager
async def _working(worker: CaptureWorker, context: ProcessContext) -> AsyncIterator[None]:
    running = asyncio.create_task(guarded(worker.run(), context), name="capture-worker")
    try:
        yield
    finally:
        # again, for when the stream could not even be entered; a worker that has drained returns at once
        await worker.drain(0)
        await running


@asynccontextmanager
async def _admitting(
    worker: CaptureWorker, publisher: Publisher, settings: CaptureSettings, context: ProcessContext
) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    intakes = {plan: Intake(settings.capture.queue_capacity, context.clock) for plan in Plan}
    subscriptions = [
        Subscription(f"capture-{plan}", (CAPTURES[plan].name,), intake) for plan, intake in intakes.items()
    ]
    stream_settings = StreamSettings(CAPTURE_GROUP, settings.kafka, WATCH_LIMITS)
    async with run_app(stream_settings, subscriptions, context):
        custody = PlanIntakes({CAPTURES[plan].name: intake for plan, intake in intakes.items()})
        settle = SettleContext("capture", custody, publisher, context.clock, context.metrics, stopping)
        settler = Settler(_nothing, settle)
        tasks = [
            asyncio.create_task(guarded(admit(intake, worker, settler), context), name=f"admit-{plan}")
            for plan, intake in intakes.items()
        ]
        try:
            yield
        finally:
            stopping.set()
            for intake in intakes.values():
                await intake.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await worker.drain(max(0.5, settings.operations.drain_deadline_s - STREAM_STOP_S))


async def _nothing(_records: object) -> None:
    """Requests are settled by the worker, one by one; the settler only buries."""


async def _check_browser(engine: Engine) -> None:
    if not await engine.healthy():
        raise TransientError("the browser does not answer")


def _sessions(settings: CaptureSettings, pool: Pool) -> SessionStore:
    return SessionStore(pool, KeyRing(parse_keys(settings.encryption.keys)))


def _names(settings: CaptureSettings) -> Callable[[CaptureRequest], str]:
    return partial(key_of_request, settings.storage.key_secret)
