from dataclasses import fields

from runtime.metrics import create_metrics


def test_every_metric_is_exposed_under_our_prefix() -> None:
    """One table, one registry, one name space; none is forgotten or registered elsewhere."""
    metrics = create_metrics()
    described = {family.name for family in metrics.registry.collect()}
    assert described == {f"alerts_{field.name}" for field in fields(metrics) if field.name != "registry"}


def test_processes_do_not_share_counts() -> None:
    """Two sets of metrics in one interpreter are independent."""
    one, two = create_metrics(), create_metrics()
    one.spool_puts.labels("stored").inc()
    assert b'alerts_spool_puts_total{outcome="stored"} 1.0' in one.exposition()
    assert b'outcome="stored"' not in two.exposition()


def test_the_text_is_what_prometheus_reads() -> None:
    """Help, type and value of a metric without labels are there from the start."""
    text = create_metrics().exposition().decode()
    assert "# HELP alerts_webhook_pending" in text
    assert "# TYPE alerts_webhook_pending gauge" in text
    assert "alerts_webhook_pending 0.0" in text
