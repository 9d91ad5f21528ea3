"""A sender that is much quicker than a server: fixed requests over kept connections, answers counted.

`python -m tests.bench.http_load` with a JSON `Plan` as its argument prints a JSON `Outcome`.
"""

import asyncio
import sys
import time
from collections import Counter, deque
from typing import cast

import msgspec
import uvloop

_STATUS = slice(9, 12)


class Plan(msgspec.Struct, frozen=True):
    """`rate_per_s` 0: each connection sends the next request when it has its answer."""

    port: int
    path: str
    connections: int
    body_bytes: int
    seconds: float
    rate_per_s: float = 0.0


class Outcome(msgspec.Struct, frozen=True):
    per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    statuses: dict[str, int]


class Sender(asyncio.Protocol):
    """One connection. With a rate it sends when told to, one request after the other in a pipeline of one."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._sent_at_s = 0.0
        self._buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, due_s: float) -> None:
        """The answer's time counts from when the request was due."""
        assert self.transport is not None
        self._sent_at_s = due_s
        self.transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().index(b"content-length: ") + 16
        length = int(head[at:].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        self._buffer = b""
        self._load.answered(self, head[_STATUS].decode(), time.perf_counter() - self._sent_at_s)


class Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._latencies_s: list[float] = []
        self._statuses: Counter[str] = Counter()
        self._idle: deque[Sender] = deque()
        self._due: deque[float] = deque()
        self._ends_at_s = 0.0
        head = f"POST {plan.path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {plan.body_bytes}\r\n\r\n"
        self.request = head.encode() + b"x" * plan.body_bytes

    async def run(self) -> Outcome:
        loop = asyncio.get_running_loop()
        for _ in range(self._plan.connections):
            _transport, sender = await loop.create_connection(
                lambda: Sender(self), "127.0.0.1", self._plan.port
            )
            self._idle.append(sender)
        began_at_s = time.perf_counter()
        self._ends_at_s = began_at_s + self._plan.seconds
        await (self._pace(began_at_s) if self._plan.rate_per_s else self._saturate())
        return self._outcome(time.perf_counter() - began_at_s)

    def answered(self, sender: Sender, status: str, latency_s: float) -> None:
        self._latencies_s.append(latency_s)
        self._statuses[status] += 1
        now_s = time.perf_counter()
        if self._due:
            sender.send(self._due.popleft())
        elif not self._plan.rate_per_s and now_s < self._ends_at_s:
            sender.send(now_s)
        else:
            self._idle.append(sender)

    async def _saturate(self) -> None:
        senders, self._idle = list(self._idle), deque()
        for sender in senders:
            sender.send(time.perf_counter())
        while len(self._idle) < len(senders):  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.01)

    async def _pace(self, began_at_s: float) -> None:
        """Requests fall due whether or not answers come: a slow server is not asked less."""
        number, total = 0, int(self._plan.rate_per_s * self._plan.seconds)
        while number < total:
            now_s = time.perf_counter()
            while number < total and (due_s := began_at_s + number / self._plan.rate_per_s) <= now_s:
                number += 1
                if self._idle:
                    self._idle.popleft().send(due_s)
                else:
                    self._due.append(due_s)
            await asyncio.sleep(0.0005)
        while len(self._idle) < self._plan.connections:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)

    def _outcome(self, seconds: float) -> Outcome:
        ordered = sorted(self._latencies_s)

        def quantile_ms(share: float) -> float:
            return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)

        return Outcome(
            round(len(ordered) / seconds),
            quantile_ms(0.5),
            quantile_ms(0.99),
            quantile_ms(1.0),
            dict(self._statuses),
        )


if __name__ == "__main__":
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.buffer.write(msgspec.json.encode(runner.run(Load(plan).run())))
