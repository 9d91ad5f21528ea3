"""The ingress on a real port with what lies behind it under the test's control."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from deploy.local.ports import Ports
from ingest.acceptance import Acceptance
from ingest.app import create_handler
from ingest.command import serve_ingest
from ingest.fate import Fate
from ingest.limits import Rate, TenantLimits
from ingest.refusals import RefusalLedger
from ingest.resend import ResendMemory
from ingest.senders import sender_policy
from ingest.settings import IngestSection, IngestSettings
from ingest.webhook import WebhookContext
from runtime.backlog import Backlog
from runtime.clock import Clock, SystemClock
from runtime.clock_guard import ClockGuard
from runtime.directory import DirectoryReader, TenantDirectory
from runtime.errors import TransientError
from runtime.ids import SignalIds
from runtime.metrics import Metrics, create_metrics
from runtime.operations import Listener, serve_http
from runtime.process import ProcessContext
from runtime.publisher import Message
from runtime.settings import LoggingSettings, OperationsSettings
from tests.support.clock import FakeClock
from tests.support.http import post
from tests.support.stack import free_port
from tests.support.tenants import Customer, kafka_settings, new_customer
from tests.support.waiting import eventually


class ScriptedAcceptance(Acceptance):
    """Acks everything, unless told what becomes of the next messages or that it raises."""

    def __init__(self) -> None:
        self.fates: list[Fate] = []
        self.error: Exception | None = None
        self.delivered: list[Message] = []
        self.deadlines_s: list[tuple[float, float]] = []

    async def accept(self, message: Message, ack_deadline_s: float, answer_deadline_s: float) -> Fate:
        if self.error is not None:
            raise self.error
        self.delivered.append(message)
        self.deadlines_s.append((ack_deadline_s, answer_deadline_s))
        return self.fates.pop(0) if self.fates else Fate.ACKED

    @property
    def ids(self) -> list[str]:
        """The signal ids of what was delivered."""
        return [dict(message.headers)["signal_id"].decode() for message in self.delivered]


class ScriptedDirectory(DirectoryReader):
    """Is current, or not; can be made to learn of tenants only when it is asked."""

    def __init__(self, clock: FakeClock, metrics: Metrics) -> None:
        super().__init__(TenantDirectory(), metrics)
        self.current = True
        self.answers_after_s = 0.0
        self.arriving: list[Customer] = []
        self._clock = clock

    async def confirm_current(self, deadline_s: float) -> None:
        self._clock.move(min(self.answers_after_s, deadline_s))
        if not self.current or self.answers_after_s > deadline_s:
            raise TransientError("not current")
        for customer in self.arriving:
            self.directory.apply(customer.tenant)


@dataclass(frozen=True)
class Ingress:
    """A served ingress without a broker."""

    context: WebhookContext
    clock: FakeClock
    directory: ScriptedDirectory
    delivery: ScriptedAcceptance
    metrics: Metrics
    ports: list[int] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.ports[0]

    def knows(self, customer: Customer) -> None:
        self.directory.directory.apply(customer.tenant)


@asynccontextmanager
async def scripted_ingress(**settings: object) -> AsyncIterator[Ingress]:
    """The real application on a free port, before a scripted directory and delivery."""
    clock, metrics = FakeClock(), create_metrics()
    directory, delivery = ScriptedDirectory(clock, metrics), ScriptedAcceptance()
    section, refusals = IngestSection.model_validate(settings), RefusalLedger()
    context = WebhookContext(
        settings=section,
        directory=directory,
        acceptance=delivery,
        senders=sender_policy(section),
        limits=TenantLimits(section.processes, Rate(section.ceiling_per_s, 60 * section.ceiling_per_s)),
        refusals=refusals,
        clock_guard=ClockGuard(clock),
        resends=ResendMemory(),
        ids=SignalIds(clock),
        backlog=Backlog(clock),
        clock=clock,
        span_id=lambda: 0xABC,
    )
    ingress = Ingress(context, clock, directory, delivery, metrics)
    async with serve_http(create_handler(context, metrics), Listener("127.0.0.1", 0)) as port:
        ingress.ports.append(port)
        yield ingress


@dataclass(frozen=True, slots=True)
class RunningIngress:
    """The role as it runs in its process."""

    port: int
    context: ProcessContext

    async def until_ready(self) -> None:
        async def ready() -> bool:
            return not await self.context.readiness.problems()

        await eventually(ready)

    async def until_current(self) -> None:
        """Return once the directory holds what the broker held at the time of the call."""
        answer = await post(self.port, new_customer().path)
        if answer.status != HTTPStatus.NOT_FOUND:
            raise AssertionError(answer)


@asynccontextmanager
async def running_ingress(
    bootstrap: str, clock: Clock | None = None, **settings: object
) -> AsyncIterator[RunningIngress]:
    """The role on a free port. Not yet ready: await `until_ready`."""
    ports = Ports()
    port = free_port(ports)
    ingest = IngestSection.model_validate({"port": port, **settings})
    environment = (kafka_settings(bootstrap), OperationsSettings.model_validate({}))
    sections = IngestSettings(ingest, *environment, LoggingSettings.model_validate({}))
    context = ProcessContext(clock=clock or SystemClock())
    try:
        async with serve_ingest(sections, context):
            yield RunningIngress(port, context)
    finally:
        ports.close()
