"""Measures the whole pipeline on one machine, load generator and servers together.

Open loop: requests start on a schedule, whether or not earlier ones have been answered.
"""

import asyncio
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence

from tests.support.pipeline import Client, Pipeline, client_of, temporary_pipeline

RATE_PER_S = 200
SECONDS = 10
PICTURES = 60
PHASES = ("navigate", "ready", "settle", "shoot", "upload")


def main() -> None:
    with temporary_pipeline() as pipeline:
        asyncio.run(measure(pipeline))


async def measure(pipeline: Pipeline) -> None:
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    async with client_of(pipeline) as client:
        await client.settled({await client.alert("BENCH:WARM")}, 60)
        await measure_pictures(pipeline, client)
        await measure_webhooks(client)


async def measure_pictures(pipeline: Pipeline, client: Client) -> None:
    """One account, so one picture after the other."""
    began_s = time.perf_counter()
    ids = await asyncio.gather(*(client.alert(f"BENCH:P{number}") for number in range(PICTURES)))
    await client.settled(set(ids), 300)
    took_s = time.perf_counter() - began_s
    print(f"pictures of one account: {PICTURES} in {took_s:.1f} s, {60 * PICTURES / took_s:.0f} a minute")
    log = pipeline.layout.log("capture").read_text().splitlines()
    done = [event for event in map(json.loads, log) if event["event"] == "capture_completed"]
    for phase in PHASES:
        print(f"  {phase:9} {figures([event[phase] for event in done])}")


async def measure_webhooks(client: Client) -> None:
    """Tickerless alerts: stored, but no picture competes for the cores."""
    latencies_ms: list[float] = []

    async def post(at_s: float) -> str:
        await asyncio.sleep(max(0.0, at_s - time.perf_counter()))
        status, answer = await client.post("Alerta sin ticker " + "x" * 900)
        # from the scheduled start: waiting for a connection counts
        latencies_ms.append((time.perf_counter() - at_s) * 1000)
        assert status == 200, answer
        return str(answer["signal_id"])

    first_s = time.perf_counter() + 0.5
    starts = [first_s + number / RATE_PER_S for number in range(RATE_PER_S * SECONDS)]
    ids = await asyncio.gather(*(post(at_s) for at_s in starts))
    acked_s = time.perf_counter()
    await client.settled(set(ids), 120)
    print(f"webhooks of 1 KB, {RATE_PER_S}/s for {SECONDS} s, open loop: {figures(latencies_ms)}")
    visible_s = time.perf_counter() - acked_s
    print(f"  all rows visible {visible_s:.2f} s after the last answer, reading them included")


def figures(values: Sequence[float]) -> str:
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return f"p50 {statistics.median(ordered):.0f} ms, p99 {p99:.0f} ms, max {ordered[-1]:.0f} ms"


if __name__ == "__main__":
    main()
