"""`alerts ingest --workers N`: one port, several processes that share the work.

The parent holds the listening socket and each worker accepts from it. Nothing that waits to be accepted is
lost when a worker ends, however it ends: a socket of its own under SO_REUSEPORT would take its share of the
waiting connections with it. SIGHUP replaces the workers one by one, each by one that is ready.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client.registry import Collector

from ingest.worker import Worker, WorkerPlan, start_worker
from ingest.worker_metrics import WorkerMetrics
from runtime.backoff import backoff_s
from runtime.errors import TransientError
from runtime.logging import get_logger
from runtime.process import HUNG_AFTER_S, ProcessContext, guarded

READY_DEADLINE_S: Final = 30.0
METRICS_INTERVAL_S: Final = 5.0
_READY_POLL_S: Final = 0.1
_LONG_LIFE_S: Final = 10.0

log = get_logger(__name__)


@asynccontextmanager
async def serve_workers(plan: WorkerPlan, context: ProcessContext) -> AsyncIterator[None]:
    """Start the workers, keep their number, and let them drain on exit. Ready when all of them are."""
    workers = Workers(plan, context)
    context.readiness.add("workers", workers.check)
    context.metrics.replace_by(workers.metrics)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, workers.ask_to_replace)
    running = asyncio.create_task(guarded(workers.run(), context), name="workers")
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await workers.stop()


@dataclass(slots=True)
class _Slot:
    number: int
    worker: Worker


class Workers:
    """The worker of each slot. One that ends is started again, the more slowly the sooner it ended."""

    def __init__(self, plan: WorkerPlan, context: ProcessContext) -> None:
        self._plan = plan
        self._clock = context.clock
        self._replace = asyncio.Event()
        # in no slot: not yet, or no longer
        self._beside: set[Worker] = set()
        self._slots = [_Slot(number, start_worker(plan)) for number in range(plan.processes)]
        self._metrics = WorkerMetrics()

    @property
    def metrics(self) -> Collector:
        """All workers' metrics with the number of the worker as a label, as of a few seconds ago."""
        return self._metrics

    def ask_to_replace(self) -> None:
        """All workers, one by one. Asked again meanwhile, it begins anew when it has ended."""
        self._replace.set()

    async def check(self) -> None:
        """Raises `TransientError` unless every worker is ready."""
        ready = await asyncio.gather(*(slot.worker.ready() for slot in self._slots))
        if not all(ready):
            raise TransientError(f"{ready.count(True)} of {len(ready)} workers are ready")

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            for slot in self._slots:
                group.create_task(self._keep(slot))
            group.create_task(self._replace_when_asked())
            group.create_task(self._collect())

    async def stop(self) -> None:
        """Let all drain; kill what takes longer than it may."""
        workers = {slot.worker for slot in self._slots} | self._beside
        await asyncio.gather(*(self._end(worker) for worker in workers))

    async def _keep(self, slot: _Slot) -> None:
        waits = backoff_s(0.2, 10.0)
        while True:
            worker, began_at_s = slot.worker, self._clock.monotonic_s()
            await worker.ended.wait()
            if slot.worker is not worker:
                continue
            log.error("worker_ended", worker=slot.number, exit_code=worker.exit_code)
            if self._clock.monotonic_s() - began_at_s > _LONG_LIFE_S:
                waits = backoff_s(0.2, 10.0)
            await self._clock.sleep(next(waits))
            slot.worker = start_worker(self._plan)

    async def _replace_when_asked(self) -> None:
        while True:
            await self._replace.wait()
            self._replace.clear()
            for slot in self._slots:
                if not await self._replace_one(slot):
                    log.error("replacement_given_up", worker=slot.number)
                    break
            else:
                log.info("workers_replaced", workers=len(self._slots))

    async def _replace_one(self, slot: _Slot) -> bool:
        """False, with the old worker still at work, when the new one does not get ready."""
        new = start_worker(self._plan)
        self._beside = {new}
        ready = await self._becomes_ready(new)
        leaving = slot.worker if ready else new
        if ready:
            slot.worker = new
        self._beside = {leaving}
        await self._end(leaving)
        self._beside = set()
        return ready

    async def _becomes_ready(self, worker: Worker) -> bool:
        give_up_at_s = self._clock.monotonic_s() + READY_DEADLINE_S
        while not worker.ended.is_set() and self._clock.monotonic_s() < give_up_at_s:
            if await worker.ready():
                return True
            await self._clock.sleep(_READY_POLL_S)
        return False

    async def _end(self, worker: Worker) -> None:
        await worker.end(self._plan.drain_deadline_s + HUNG_AFTER_S)

    async def _collect(self) -> None:
        while True:
            texts = await asyncio.gather(*(slot.worker.metrics_text() for slot in self._slots))
            self._metrics.texts = dict(enumerate(texts))
            await self._clock.sleep(METRICS_INTERVAL_S)
