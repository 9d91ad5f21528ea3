"""The tenants' directory at full size: time and memory to load, time to save and until a change is in force.

Each load is measured in a process of its own. A change: UPDATE in Postgres until two directories know it.
"""

import asyncio
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from runtime.clock import SystemClock
from runtime.directory import DirectoryReader, open_directory
from runtime.errors import TransientError
from runtime.logging import setup_logging
from runtime.metrics import create_metrics
from runtime.postgres import Pool, open_pool
from runtime.process import ProcessContext
from runtime.publisher import open_publisher
from runtime.settings import LoggingSettings, PostgresSettings
from runtime.snapshot import SnapshotFile
from schemas.codec import encode
from schemas.topics import TENANTS
from sinks.relay import TenantRelay
from tests.support.stack import Databases, kafka_node, postgres_cluster
from tests.support.tenants import Customer, create_local_topics, insert_tenant, kafka_settings, new_customer

TENANT_COUNT: Final = 100_000
CHANGES: Final = 50
LOOKUPS: Final = 100_000
_TICK_S: Final = 0.001
_APART: Final = "apart"
_CLOCK: Final = SystemClock()


async def fill(bootstrap: str, customers: list[Customer]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=20)
    await producer.start()
    try:
        for customer in customers:
            await producer.send(TENANTS.name, encode(customer.tenant), key=customer.key)
        await producer.flush()
    finally:
        await producer.stop()


def resident_mb(field: str = "VmRSS") -> float:
    """Of this process; `VmHWM` is the most there ever was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{field}:"))


async def until_current(reader: DirectoryReader) -> None:
    while True:
        with suppress(TransientError):
            await reader.confirm_current(60)
            return


async def load(bootstrap: str, path: str, save_to: str) -> dict[str, float]:
    """Of a fresh process: what opening the directory took, until it is current, or at once without broker."""
    gc.collect()
    before_mb, start_s = resident_mb(), _CLOCK.monotonic_s()
    snapshot = Path(path) if path else None
    context = ProcessContext()
    async with open_directory(kafka_settings(bootstrap), context, "bench", snapshot) as reader:
        opened_s = _CLOCK.monotonic_s() - start_s
        if not path:
            await until_current(reader)
        figures = {
            "tenants": len(reader.directory),
            "opened_s": opened_s,
            "loaded_s": _CLOCK.monotonic_s() - start_s,
            "growth_mb": resident_mb() - before_mb,
            "peak_mb": resident_mb("VmHWM") - before_mb,
            "lookup_us": lookup_us(reader),
        }
        if save_to:
            figures |= await save(reader, Path(save_to))
            figures["file_mb"] = size_mb(save_to)
            figures["growth_after_save_mb"] = resident_mb() - before_mb
    return figures


def size_mb(path: str) -> float:
    return Path(path).stat().st_size / 1e6


def lookup_us(reader: DirectoryReader) -> float:
    hashes = list(reader.directory._by_hash)[:LOOKUPS]
    start_s = _CLOCK.monotonic_s()
    for token_hash in hashes:
        reader.directory.by_token_hash(token_hash)
    return (_CLOCK.monotonic_s() - start_s) * 1e6 / len(hashes)


async def save(reader: DirectoryReader, path: Path) -> dict[str, float]:
    """The time of a save and the longest time in which the event loop did nothing else."""
    place = reader.place()
    if place is None:
        raise AssertionError("not current")
    stalls_s: list[float] = []
    watching = asyncio.create_task(watch(stalls_s))
    await asyncio.sleep(0.1)
    start_s = _CLOCK.monotonic_s()
    await asyncio.to_thread(SnapshotFile(path).save, place, reader.directory.records())
    saved_s = _CLOCK.monotonic_s() - start_s
    watching.cancel()
    return {"saved_s": saved_s, "stall_ms": max(stalls_s) * 1000}


async def watch(stalls_s: list[float]) -> None:
    while True:
        start_s = _CLOCK.monotonic_s()
        await asyncio.sleep(_TICK_S)
        stalls_s.append(_CLOCK.monotonic_s() - start_s - _TICK_S)


def load_apart(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.bench_directory", _APART, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=180)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


async def change_times_ms(bootstrap: str, url: str) -> list[float]:
    """From before the UPDATE until two directories of full size know it, change by change."""
    settings = kafka_settings(bootstrap)
    async with AsyncExitStack() as stack:
        postgres = PostgresSettings.model_validate({"url": url})
        pool = await stack.enter_async_context(open_pool(postgres, "bench"))
        publisher = await stack.enter_async_context(open_publisher(settings, "bench-relay"))
        readers = [
            await stack.enter_async_context(open_directory(settings, ProcessContext(), f"bench-{number}"))
            for number in range(2)
        ]
        for reader in readers:
            await until_current(reader)
        relay = TenantRelay(pool, publisher, _CLOCK, create_metrics())
        running = asyncio.create_task(relay.run(readers[0]))
        try:
            customer = new_customer()
            await insert_tenant(pool, customer)
            await until_known(readers, customer, 1)
            return [await change_ms(pool, readers, customer, number + 2) for number in range(CHANGES)]
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def change_ms(pool: Pool, readers: list[DirectoryReader], customer: Customer, revision: int) -> float:
    # the relay polls: changes must not come in step with it
    await asyncio.sleep(revision % 7 * 0.05)
    start_s = _CLOCK.monotonic_s()
    await pool.execute(
        "UPDATE users SET webhook_enabled = NOT webhook_enabled, revision = revision + 1 WHERE id = $1",
        customer.tenant.user_id,
    )
    await until_known(readers, customer, revision)
    return (_CLOCK.monotonic_s() - start_s) * 1000


async def until_known(readers: list[DirectoryReader], customer: Customer, revision: int) -> None:
    for reader in readers:
        while True:
            known = reader.directory.by_id(customer.tenant.user_id)
            if known is not None and known.revision >= revision:
                break
            await asyncio.sleep(_TICK_S)


def report(name: str, figures: dict[str, Any]) -> None:
    print(f"{name:14} {figures['tenants']:,.0f} tenants in {figures['loaded_s']:.2f} s,", end=" ")
    print(f"{figures['growth_mb']:.0f} MB resident growth, {figures['peak_mb']:.0f} MB at its peak,", end=" ")
    print(f"{figures['lookup_us']:.1f} µs a first lookup")


def main() -> None:
    setup_logging(LoggingSettings(level="error", format="auto"), "bench")
    print(
        f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()},", end=" "
    )
    print("load", *(f"{load:.1f}" for load in os.getloadavg()))
    customers = [new_customer() for _ in range(TENANT_COUNT)]
    with kafka_node() as node, postgres_cluster() as cluster, tempfile.TemporaryDirectory() as folder:
        asyncio.run(create_local_topics(node.bootstrap))
        asyncio.run(fill(node.bootstrap, customers))
        path = str(Path(folder) / "directory")
        from_topic = load_apart(node.bootstrap, "", path)
        report("from the topic", from_topic)
        # a port on which nobody listens: Kafka is away
        report("from a file", load_apart("127.0.0.1:1", path, ""))
        print(f"saved in {from_topic['saved_s']:.2f} s, {from_topic['file_mb']:.0f} MB,", end=" ")
        print(f"the event loop held up for {from_topic['stall_ms']:.0f} ms,", end=" ")
        print(f"{from_topic['growth_after_save_mb']:.0f} MB resident growth afterwards")
        with Databases(cluster).database() as url:
            times_ms = sorted(asyncio.run(change_times_ms(node.bootstrap, url)))
    middle_ms, most_ms = times_ms[len(times_ms) // 2], times_ms[-1]
    print(f"a change is in force after {middle_ms:.0f} ms p50, {most_ms:.0f} ms at most")


if __name__ == "__main__":
    if sys.argv[1:2] == [_APART]:
        setup_logging(LoggingSettings(level="error", format="auto"), "bench")
        print(json.dumps(asyncio.run(load(*sys.argv[2:5]))))
    else:
        main()
