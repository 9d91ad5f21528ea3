"""One tenant's flood into the overflow lane. A process of its own, so that it holds up nobody who measures.

`python -m tests.bench.flooder BOOTSTRAP USER_ID`; each line `SECONDS RATE_PER_S` it reads is one flood, after
which it prints the number of records that were acked.
"""

import asyncio
import os
import sys
import time
from uuid import UUID

from aiokafka import AIOKafkaProducer

from runtime.clock import SystemClock
from runtime.ids import SignalIds
from schemas.topics import WEBHOOKS_OVERFLOW
from tests.bench.alerts import BODY, headers_of

TICK_S = 0.01


async def main(bootstrap: str, user_id: UUID) -> None:
    # in batches: the flood itself is no part of the comparison, so it may be cheap
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks=1, linger_ms=50)
    await producer.start()
    ids = SignalIds(SystemClock())
    key = str(user_id).encode()
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            seconds, rate_per_s = map(float, line.split())
            acks = await flood(producer, ids, key, (seconds, rate_per_s))
            await asyncio.gather(*acks)
            print(len(acks), flush=True)
    finally:
        await producer.stop()


async def flood(
    producer: AIOKafkaProducer, ids: SignalIds, key: bytes, load: tuple[float, float]
) -> list["asyncio.Future[object]"]:
    (seconds, rate_per_s), began_at_s = load, time.perf_counter()
    acks: list[asyncio.Future[object]] = []
    while (passed_s := time.perf_counter() - began_at_s) < seconds:
        while len(acks) < passed_s * rate_per_s:
            headers = headers_of(ids.mint())
            acks.append(await producer.send(WEBHOOKS_OVERFLOW.name, BODY, key=key, headers=headers))
        await asyncio.sleep(TICK_S)
    return acks


if __name__ == "__main__":
    # the senders of the world share no processor with the pipeline: this one gets what nobody else wants
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    asyncio.run(main(sys.argv[1], UUID(sys.argv[2])))
