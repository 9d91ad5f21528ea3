"""How much waits on an ingress's disk, from its metrics."""

import pytest

from ingest.worker_metrics import WorkerMetrics
from runtime.errors import TransientError
from runtime.metrics import Metrics, create_metrics
from runtime.operations import serve_operations
from runtime.readiness import Readiness
from runtime.settings import OperationsSettings
from sinks.reconcile_spool import SpoolDepth, read_spools, spool_depth


def ingress(records: int, size_bytes: int, oldest_s: float) -> Metrics:
    metrics = create_metrics()
    metrics.spool_records.set(records)
    metrics.spool_bytes.set(size_bytes)
    metrics.spool_oldest_seconds.set(oldest_s)
    return metrics


async def test_the_operations_port_tells_the_depth() -> None:
    """With or without a slash at the end of its address."""
    settings = OperationsSettings.model_validate({"port": 0})
    async with serve_operations(settings, Readiness(), ingress(12, 3456, 7.5)) as port:
        urls = [f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/"]
        assert await read_spools(urls) == [SpoolDepth(url, 12, 3456, 7.5) for url in urls]


def test_the_workers_of_an_ingress_are_added_up() -> None:
    """Each has a sample of its own; the oldest of all counts."""
    workers = WorkerMetrics()
    workers.texts = {
        0: ingress(3, 100, 2.0).exposition().decode(),
        1: ingress(4, 200, 9.0).exposition().decode(),
    }
    parent = create_metrics()
    parent.replace_by(workers)
    depth = spool_depth("u", parent.exposition().decode())
    assert depth == SpoolDepth("u", 7, 300, 9.0)


def test_another_programs_metrics_are_not_an_ingresss() -> None:
    """No depth is made up."""
    assert spool_depth("u", "# TYPE up gauge\nup 1.0\n") is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "no address", "http://127.0.0.1:1/\n"])
async def test_an_ingress_that_does_not_tell_is_an_error(url: str) -> None:
    """A depth that is not known is not shown as none."""
    with pytest.raises(TransientError):
        await read_spools([url])
