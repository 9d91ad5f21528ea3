"""Events a second and CPU an event: plain Faust, our harness and bare aiokafka, on the same work."""

import asyncio
import json
import subprocess
import sys
from typing import Final

from aiokafka import AIOKafkaProducer

from tests.support.broker import make_topics
from tests.support.stack import kafka_node

EVENTS: Final = 100_000
PARTITIONS: Final = 4
FILLER: Final = "x" * 450
TOPIC: Final = "bench"
CONTENDERS: Final = ("plain Faust", "ours", "bare aiokafka")


async def fill(bootstrap: str) -> None:
    await make_topics(bootstrap, **{TOPIC: PARTITIONS})
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=20)
    await producer.start()
    try:
        for number in range(EVENTS):
            value = json.dumps({"number": number, "filler": FILLER}).encode()
            await producer.send(TOPIC, value, partition=number % PARTITIONS)
        await producer.flush()
    finally:
        await producer.stop()


def measure(name: str, bootstrap: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.contender", name, bootstrap, TOPIC, str(EVENTS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=180)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    with kafka_node() as node:
        asyncio.run(fill(node.bootstrap))
        figures = {name: measure(name, node.bootstrap) for name in CONTENDERS}
    plain = figures["plain Faust"]["cpu_s"]
    for name, figure in figures.items():
        rate = figure["events"] / figure["seconds"]
        cpu_us = 1e6 * figure["cpu_s"] / figure["events"]
        ratio = plain / figure["cpu_s"]
        print(f"{name:14} {rate:9,.0f} events/s {cpu_us:7.1f} µs CPU/event {ratio:5.1f} × plain")


if __name__ == "__main__":
    main()
