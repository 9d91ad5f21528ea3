"""`alerts ingest`: the ingress as a process."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final, NoReturn

import click

from ingest.acceptance import Acceptance
from ingest.app import create_handler
from ingest.delivery import KafkaDelivery
from ingest.drain import DrainLimits, SpoolDrain
from ingest.limits import Rate, TenantLimits
from ingest.refusals import open_refusals
from ingest.resend import ResendMemory
from ingest.senders import sender_policy
from ingest.settings import IngestSection, IngestSettings
from ingest.spool import SpoolLimits, open_spool
from ingest.webhook import WebhookContext
from ingest.worker import WorkerPlan, listening_socket
from ingest.workers import serve_workers
from runtime.backlog import open_backlog
from runtime.clock import Clock
from runtime.clock_guard import ClockGuard
from runtime.directory import DirectoryReader, open_directory
from runtime.environment import Environment
from runtime.errors import TransientError
from runtime.examples import example
from runtime.ids import RandomPool, SignalIds
from runtime.kafka import create_producer
from runtime.logging import get_logger
from runtime.operations import Listener, serve_http
from runtime.process import HUNG_AFTER_S, ProcessContext, ProcessSettings, guarded, run_command, run_role
from runtime.settings import load_settings

LINGER_S: Final = 1.5
"""Longer than a sender that keeps its connection waits between two alerts of a bar close."""

ALOOF_S: Final = 2.0
"""Shorter than a sender waits, if there is no neighbour."""
_ALOOF_POLL_S: Final = 0.02

log = get_logger(__name__)


@click.command("ingest", epilog=example("ingest --workers 4"))
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="processes on the one port"
)
@click.pass_obj
def command(environment: Environment, workers: int) -> None:
    """Accept webhooks and publish them to Kafka.

    With several workers SIGHUP replaces them one by one without refusing a call.
    """
    if workers == 1:
        run_command("ingest", IngestSettings, serve_ingest, environment.values)
    sys.exit(_run_workers(load_settings(IngestSettings, environment.values), environment.values, workers))


def run_worker(values: Mapping[str, str]) -> NoReturn:
    """One of several, in its own process."""
    run_command("ingest", IngestSettings, serve_ingest, values)


def _run_workers(settings: IngestSettings, values: Mapping[str, str], workers: int) -> int:
    drain_deadline_s = settings.operations.drain_deadline_s
    # the parent leaves last
    operations = settings.operations.model_copy(
        update={"drain_deadline_s": drain_deadline_s + 2 * HUNG_AFTER_S}
    )
    processes = settings.ingest.processes * workers
    with listening_socket(settings.ingest.host, settings.ingest.port) as web:
        own = {**values, IngestSection.variable("processes"): str(processes)}
        plan = WorkerPlan(run_worker, own, web, workers, drain_deadline_s)
        process = ProcessSettings("ingest", settings.logging, operations)
        return run_role(process, lambda context: serve_workers(plan, context))


@asynccontextmanager
async def serve_ingest(settings: IngestSettings, context: ProcessContext) -> AsyncIterator[None]:
    """Listens at once, also while Kafka is away: a refused connection is not resent, a 503 is.

    On exit: stop accepting, finish requests, flush the producer, leave the rest to the spool.
    """
    section = settings.ingest
    async with AsyncExitStack() as stack:
        guard = ClockGuard(context.clock)
        context.readiness.add("clock", partial(_check_clock, guard))
        directory = await stack.enter_async_context(
            open_directory(
                settings.kafka, context, "alerts-ingest-directory", section.state_file("tenants.snapshot")
            )
        )
        backlog = await stack.enter_async_context(open_backlog(settings.kafka, context))
        refusals = await stack.enter_async_context(open_refusals(settings.kafka, context))
        delivery = KafkaDelivery(
            partial(create_producer, settings.kafka, "alerts-ingest"),
            section.max_pending_bytes,
            context,
            guard,
        )
        acceptance = await stack.enter_async_context(_open_acceptance(section, context, delivery))
        random_pool = RandomPool()
        webhook = WebhookContext(
            settings=section,
            directory=directory,
            acceptance=acceptance,
            senders=sender_policy(section),
            limits=TenantLimits(section.processes, Rate(section.ceiling_per_s, 60 * section.ceiling_per_s)),
            refusals=refusals,
            resends=ResendMemory(),
            ids=SignalIds(context.clock, random_pool.bits),
            backlog=backlog,
            clock=context.clock,
            clock_guard=guard,
            span_id=lambda: random_pool.bits(64),
        )
        app = create_handler(webhook, context.metrics)
        if section.listen_fd is not None:
            await _until_useful(directory, delivery, context.clock)
        listener = Listener(section.host, section.port, section.listen_fd, LINGER_S)
        port = await stack.enter_async_context(serve_http(app, listener))
        log.info("webhook_port_open", host=section.host, port=port)
        yield


@asynccontextmanager
async def _open_acceptance(
    section: IngestSection, context: ProcessContext, delivery: KafkaDelivery
) -> AsyncIterator[Acceptance]:
    limits = SpoolLimits(section.spool_max_bytes, section.spool_max_age_s)
    async with open_spool(section.state_file("spool"), limits, context) as spool:
        acceptance = Acceptance(delivery, spool, context.clock)
        drain_limits = DrainLimits(section.spool_drain_per_s)
        drain = SpoolDrain(spool, acceptance.redeliver, context.clock, drain_limits)
        context.readiness.add("producer", delivery.check)
        tasks = [
            asyncio.create_task(guarded(delivery.run(), context), name="delivery"),
            asyncio.create_task(guarded(drain.run(), context), name="spool-drain"),
        ]
        try:
            yield acceptance
        finally:
            for task in reversed(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _until_useful(directory: DirectoryReader, delivery: KafkaDelivery, clock: Clock) -> None:
    """A worker leaves the calls to its neighbours until it knows the tenants and has a producer.

    Not for ever: without Kafka it knows those of its snapshot, and has the spool.
    """
    give_up_at_s = clock.monotonic_s() + ALOOF_S
    while not await _useful(directory, delivery) and clock.monotonic_s() < give_up_at_s:
        await clock.sleep(_ALOOF_POLL_S)


async def _useful(directory: DirectoryReader, delivery: KafkaDelivery) -> bool:
    try:
        await delivery.check()
        await directory.confirm_applied(ALOOF_S)
    except TransientError:
        return False
    return True


async def _check_clock(guard: ClockGuard) -> None:
    guard.check()
