"""How far requests are, whoever worked on them: what a worker asks before it admits and before each try."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from runtime.postgres import Pool
from runtime.sql import load_queries
from schemas.records import CaptureEventKind, CaptureRequest

_QUERIES: Final = load_queries("capture", "progress.sql")


@dataclass(frozen=True, slots=True)
class Progress:
    """`is_final`: the store knows how the request ended, or that a later one has taken its place.

    `tries` and `reruns` are those that were begun, by any worker.
    """

    is_final: bool = False
    tries: int = 0
    reruns: int = 0


class ProgressReader(Protocol):
    """Where the progress of requests is kept."""

    async def read(self, requests: Sequence[CaptureRequest]) -> list[Progress]:
        """In the order of `requests`, however many, by one query. Raises what the database raises."""
        ...


class ProgressStore:
    """Progress in Postgres."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self, requests: Sequence[CaptureRequest]) -> list[Progress]:
        rows = await self._pool.fetch(
            _QUERIES["progress"],
            [request.signal_id for request in requests],
            [request.request_no for request in requests],
            CaptureEventKind.FAILED.rank,
        )
        return [Progress(row["is_final"], row["tries"], row["reruns"]) for row in rows]
