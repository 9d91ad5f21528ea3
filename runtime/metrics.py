"""Every metric of every process, in one typed table. Labels come from closed sets, never from input."""

from dataclasses import dataclass, field, fields
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

_LATENCY_S: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0)
_CAPTURE_S: Final = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0)


def _metric(kind: type[Any], text: str, labels: tuple[str, ...], **options: Any) -> Any:
    return field(metadata={"make": lambda name: kind(name, text, labels, registry=None, **options)})


def _counter(text: str, *labels: str) -> Any:
    return _metric(Counter, text, labels)


def _gauge(text: str, *labels: str) -> Any:
    return _metric(Gauge, text, labels)


def _histogram(text: str, buckets: tuple[float, ...], *labels: str) -> Any:
    return _metric(Histogram, text, labels, buckets=buckets)


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of one process, bound to its own registry. Each is exposed as `alerts_` and its name."""

    registry: CollectorRegistry
    webhook_seconds: Histogram = _histogram(
        "webhooks answered, and how long that took", _LATENCY_S, "outcome"
    )
    webhook_pending: Gauge = _gauge("webhooks handed to the producer and not yet acked")
    producers_replaced: Counter = _counter("producers that could write no more")
    refused_calls: Counter = _counter("refused webhooks told to the audit", "reason")
    refused_stored: Counter = _counter("rows of refused webhooks written, or met again", "outcome")
    directory_tenants: Gauge = _gauge("tenants known in memory")
    stream_records: Counter = _counter("records settled", "stage", "outcome")
    stream_batch_seconds: Histogram = _histogram("time of one batch", _LATENCY_S, "stage")
    stream_retries: Counter = _counter("tries repeated after a failure", "stage", "failure")
    stream_unacked_oldest_seconds: Gauge = _gauge("age of the oldest record not yet acknowledged", "stage")
    deadletters: Counter = _counter("records sent to the dead letter topic", "stage")
    deadletter_share: Gauge = _gauge("dead letters among the records settled in the last minutes", "stage")
    signals_parsed: Counter = _counter("signals by how well they were understood", "parse_status")
    signals_stored: Counter = _counter("rows written, or met again", "outcome")
    signals_over_quota: Counter = _counter("signals stored although their tenant's quota was used up")
    captures_swept: Counter = _counter("captures without an outcome, by what was done about them", "outcome")
    partitions_changed: Counter = _counter("partitions of the big tables made and dropped", "change")
    rows_expired: Counter = _counter("rows deleted because their plan keeps them no longer", "table")
    tenants_relayed: Counter = _counter("tenant changes published")
    capture_queue: Gauge = _gauge("captures waiting in this worker", "plan")
    captures: Counter = _counter("capture tries by outcome", "outcome")
    capture_seconds: Histogram = _histogram("time of each phase of a capture", _CAPTURE_S, "phase")
    api_requests: Counter = _counter("API requests answered", "route", "status")
    api_seconds: Histogram = _histogram("time to answer an API request", _LATENCY_S, "route")
    spool_records: Gauge = _gauge("webhooks that wait on disk for Kafka")
    spool_bytes: Gauge = _gauge("size of the webhooks that wait on disk")
    spool_oldest_seconds: Gauge = _gauge("age of the oldest webhook on disk")
    spool_puts: Counter = _counter("webhooks for the spool", "outcome")
    spool_drained: Counter = _counter("webhooks of the spool acked by Kafka")
    spool_set_aside: Counter = _counter("damaged spool files renamed and kept")

    def exposition(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)

    def replace_by(self, collector: Collector) -> None:
        """Expose what the collector gives instead: the same metrics, of other processes."""
        for name in _NAMES:
            self.registry.unregister(getattr(self, name))
        self.registry.register(collector)


_NAMES: Final = [item.name for item in fields(Metrics) if item.metadata]


def create_metrics() -> Metrics:
    """Call once a process; tests make as many as they like."""
    registry = CollectorRegistry()
    made = {
        item.name: item.metadata["make"](f"alerts_{item.name}") for item in fields(Metrics) if item.metadata
    }
    for metric in made.values():
        registry.register(metric)
    return Metrics(registry=registry, **made)
