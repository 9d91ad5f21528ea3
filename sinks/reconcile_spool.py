"""Alerts that wait on an ingress's disk: accepted, and not on a topic yet."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from runtime.errors import TransientError

ANSWER_DEADLINE_S: Final = 5.0
_RECORDS: Final = "alerts_spool_records"
_BYTES: Final = "alerts_spool_bytes"
_OLDEST: Final = "alerts_spool_oldest_seconds"


class SpoolDepth(msgspec.Struct, frozen=True):
    """Of one ingress, all its workers together. `oldest_s` is 0 when nothing waits."""

    url: str
    records: int
    size_bytes: int
    oldest_s: float


async def read_spools(urls: Sequence[str]) -> list[SpoolDepth]:
    """Asks the operations port of each ingress. Raises `TransientError` when one does not tell."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_DEADLINE_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        return [await _read_spool(session, url) for url in urls]


def spool_depth(url: str, exposition: str) -> SpoolDepth | None:
    """From the Prometheus text of an ingress; None when it is no ingress's."""
    values = _values(exposition)
    if _RECORDS not in values:
        return None
    return SpoolDepth(
        url=url,
        records=int(sum(values[_RECORDS])),
        size_bytes=int(sum(values.get(_BYTES, ()))),
        oldest_s=max(values.get(_OLDEST, [0.0])),
    )


def _values(exposition: str) -> Mapping[str, list[float]]:
    """The samples of each wanted name: one, or one of every worker."""
    values: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name in {_RECORDS, _BYTES, _OLDEST}:
                values.setdefault(sample.name, []).append(sample.value)
    return values


async def _read_spool(session: aiohttp.ClientSession, url: str) -> SpoolDepth:
    try:
        async with asyncio.timeout(ANSWER_DEADLINE_S), session.get(f"{url.rstrip('/')}/metrics") as answer:
            answer.raise_for_status()
            depth = spool_depth(url, await answer.text())
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise TransientError(
            f"no metrics from {url} ({type(error).__name__}): is it the operations port?"
        ) from error
    if depth is None:
        raise TransientError(f"{url} is not the operations port of an ingress")
    return depth
