"""A process with a spool in the folder named first. What it prints starts with `TOLD`; the rest is its log.

`put PREFIX`: puts numbered records from several writers for ever and prints each name once put has returned.
`hold N`: puts N records, prints `ready`, keeps them until killed.
`drain`: moves records, also of files it adopts, and prints each when it is removed.
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from ingest.drain import DrainLimits, SpoolDrain
from ingest.spool import Spool, open_spool
from runtime.process import ProcessContext
from runtime.publisher import Message
from tests.support.spool import TOLD, WIDE, message

WRITERS = 16


def tell(text: str) -> None:
    sys.stdout.write(f"{TOLD}{text}\n")
    sys.stdout.flush()


async def put_for_ever(spool: Spool, prefix: str) -> None:
    numbers = count()

    async def write() -> None:
        while True:
            name = f"{prefix}-{next(numbers)}"
            await spool.put(message(name, 200))
            tell(name)

    await asyncio.gather(*(write() for _ in range(WRITERS)))


async def hold(spool: Spool, records: int) -> None:
    for number in range(records):
        await spool.put(message(f"{number}"))
    tell("ready")
    await asyncio.Event().wait()


async def drain(spool: Spool, context: ProcessContext) -> None:
    async def deliver(record: Message) -> bool:
        tell(record.value.decode())
        return True

    tell("ready")
    await SpoolDrain(spool, deliver, context.clock, DrainLimits(idle_s=0.05)).run()


async def main(folder: Path, work: str, *arguments: str) -> None:
    context = ProcessContext()
    async with open_spool(folder, WIDE, context) as spool:
        if work == "put":
            await put_for_ever(spool, arguments[0])
        elif work == "hold":
            await hold(spool, int(arguments[0]))
        else:
            await drain(spool, context)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
