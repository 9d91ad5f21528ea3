"""Every metric of every process, in one typed table. Labels come from closed sets, never from input."""

from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCY_S: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0)
_CAPTURE_S: Final = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0)


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of one process, bound to its own registry."""

    registry: CollectorRegistry
    webhooks: Counter
    webhook_seconds: Histogram
    webhook_pending: Gauge
    directory_tenants: Gauge
    stream_records: Counter
    stream_batch_seconds: Histogram
    stream_retries: Counter
    stream_unacked_oldest_seconds: Gauge
    deadletters: Counter
    deadletter_share: Gauge
    signals_parsed: Counter
    signals_stored: Counter
    tenants_relayed: Counter
    capture_queue: Gauge
    captures: Counter
    capture_seconds: Histogram
    api_requests: Counter
    api_seconds: Histogram

    def exposition(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)


def create_metrics() -> Metrics:
    """Call once a process; tests make as many as they like."""
    registry = CollectorRegistry()

    def counter(name: str, text: str, *labels: str) -> Counter:
        return Counter(f"alerts_{name}", text, labels, registry=registry)

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"alerts_{name}", text, labels, registry=registry)

    def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"alerts_{name}", text, labels, registry=registry, buckets=buckets)

    return Metrics(
        registry=registry,
        webhooks=counter("webhooks", "webhook requests answered", "outcome"),
        webhook_seconds=histogram("webhook_seconds", "time to answer a webhook", _LATENCY_S, "outcome"),
        webhook_pending=gauge("webhook_pending", "webhooks handed to the producer and not yet acked"),
        directory_tenants=gauge("directory_tenants", "tenants known in memory"),
        stream_records=counter("stream_records", "records settled", "stage", "outcome"),
        stream_batch_seconds=histogram("stream_batch_seconds", "time of one batch", _LATENCY_S, "stage"),
        stream_retries=counter("stream_retries", "tries repeated after a failure", "stage", "failure"),
        stream_unacked_oldest_seconds=gauge(
            "stream_unacked_oldest_seconds", "age of the oldest record not yet acknowledged", "stage"
        ),
        deadletters=counter("deadletters", "records sent to the dead letter topic", "stage"),
        deadletter_share=gauge(
            "deadletter_share", "dead letters among the records settled in the last minutes", "stage"
        ),
        signals_parsed=counter("signals_parsed", "signals by how well they were understood", "parse_status"),
        signals_stored=counter("signals_stored", "rows written, or met again", "outcome"),
        tenants_relayed=counter("tenants_relayed", "tenant changes published"),
        capture_queue=gauge("capture_queue", "captures waiting in this worker", "plan"),
        captures=counter("captures", "capture tries by outcome", "outcome"),
        capture_seconds=histogram("capture_seconds", "time of each phase of a capture", _CAPTURE_S, "phase"),
        api_requests=counter("api_requests", "API requests answered", "route", "status"),
        api_seconds=histogram("api_seconds", "time to answer an API request", _LATENCY_S, "route"),
    )
