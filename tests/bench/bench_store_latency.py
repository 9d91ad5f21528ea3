"""From the moment an alert was due to be sent until its row is committed, in an open loop.

The whole stack as `make run` starts it, each role a process, and the sender beside them on the same cores;
the tenants have captures off. The commit is dated by the row's record on `signals.stored`, which the sink
makes when its transaction has ended: by the way of the answer too late. `--seconds 30` for full figures.
"""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
import msgspec

from runtime.postgres import Pool
from schemas.topics import SIGNALS, SIGNALS_STORED
from tests.bench.alerts import LABELLED
from tests.bench.report import quantile, show_machine, show_table
from tests.bench.store_load import pool_of
from tests.bench.timed_sender import Course, Sent
from tests.support.broker import read_all
from tests.support.pipeline import Pipeline, client_of, temporary_pipeline
from tests.support.stack import ROOT
from tests.support.tenants import Customer, insert_tenant, new_customer
from tests.support.waiting import eventually

TENANTS: Final = 100
"""So many that none of them sends more than its plan allows, even at the highest rate."""

CONNECTIONS: Final = 128
WARM_UP_S: Final = 3.0
TITLES: Final = ("alerts, open loop", "step", "p50 ms", "p99 ms", "max ms")


@dataclass(frozen=True)
class Options:
    seconds: float
    rates: list[float]


class Stack:
    """A running pipeline with tenants whom the ingress knows."""

    def __init__(self, pipeline: Pipeline, customers: Sequence[Customer]) -> None:
        self._bootstrap = pipeline.environment["KAFKA_BOOTSTRAP"]
        self._port = int(pipeline.ports["INGEST_PORT"])
        self._paths = [customer.path for customer in customers]

    async def send(self, rate_per_s: float, seconds: float) -> list[Sent]:
        body = LABELLED.decode()
        course = Course(self._port, self._paths, CONNECTIONS, body, rate_per_s, seconds)
        command = [sys.executable, "-m", "tests.bench.timed_sender"]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            input=msgspec.json.encode(course),
            stdout=subprocess.PIPE,
            check=True,
            timeout=seconds + 120,
            cwd=ROOT,
        )
        sent = msgspec.json.decode(done.stdout, type=list[Sent])
        refused = sum(not alert.signal_id for alert in sent)
        assert not refused, f"{refused} of {len(sent)} alerts were not accepted"
        return sent

    async def committed_s(self, sent: Sequence[Sent]) -> Mapping[str, float]:
        """When each alert was announced, in Unix seconds; waits until all are."""
        wanted = {alert.signal_id for alert in sent}

        async def all_announced() -> bool:
            return wanted <= (await self.times_s(SIGNALS_STORED.name)).keys()

        await eventually(all_announced)
        return await self.times_s(SIGNALS_STORED.name)

    async def times_s(self, topic: str) -> dict[str, float]:
        """The first time each signal is there. Records carry whole milliseconds, rounded down: up here."""
        times: dict[str, float] = {}
        for record in await read_all(self._bootstrap, topic):
            signal_id = dict(record.headers)["ce_id"].decode()
            times.setdefault(signal_id, (record.timestamp + 1) / 1000)
        return times

    async def measure(self, rate_per_s: float, seconds: float) -> list[tuple[str, ...]]:
        await self.send(rate_per_s, WARM_UP_S)
        sent = await self.send(rate_per_s, seconds)
        committed = await self.committed_s(sent)
        parsed = await self.times_s(SIGNALS.name)
        steps = {
            "answered": [alert.answered_s - alert.due_s for alert in sent],
            "parsed": [parsed[alert.signal_id] - alert.due_s for alert in sent],
            "committed": [committed[alert.signal_id] - alert.due_s for alert in sent],
        }
        name = f"{rate_per_s:,.0f}/s for {seconds:.0f} s"
        return [
            (name, step, *(f"{1000 * quantile(times_s, share):.1f}" for share in (0.5, 0.99, 1.0)))
            for step, times_s in steps.items()
        ]


async def make_tenants(pipeline: Pipeline, pool: Pool) -> list[Customer]:
    """In the database; from there the relay makes them known, as it does for everybody."""
    customers = [new_customer(captures_enabled=False) for _ in range(TENANTS)]
    for customer in customers:
        await insert_tenant(pool, customer)

    async with aiohttp.ClientSession() as http:
        for customer in customers:
            url = f"http://127.0.0.1:{pipeline.ports['INGEST_PORT']}{customer.path}"

            async def accepted(url: str = url) -> bool:
                async with http.post(url, data=LABELLED) as answer:
                    return answer.status == 200

            await eventually(accepted)
    return customers


async def measure(pipeline: Pipeline, options: Options) -> list[tuple[str, ...]]:
    async with client_of(pipeline), pool_of(pipeline.environment["DATABASE_URL"], 1) as pool:
        stack = Stack(pipeline, await make_tenants(pipeline, pool))
    return [line for rate in options.rates for line in await stack.measure(rate, options.seconds)]


def read_options() -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each rate, after 3 s to warm up")
    parser.add_argument("--rates", type=float, nargs="+", default=[200.0, 1000.0], help="alerts a second")
    return Options(**vars(parser.parse_known_args()[0]))


def main() -> None:
    options = read_options()
    show_machine()
    with temporary_pipeline() as pipeline:
        lines = asyncio.run(measure(pipeline, options))
    show_table(TITLES, lines)


if __name__ == "__main__":
    main()
