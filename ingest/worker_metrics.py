"""The metrics of several processes as those of one, each sample with its worker as a label."""

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


class WorkerMetrics(Collector):
    """`texts` are what the workers exposed last, in the Prometheus text format, by their number."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for number, text in self.texts.items():
            for family in text_string_to_metric_families(text):
                merged = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = {**sample.labels, "worker": str(number)}
                    merged.samples.append(sample._replace(labels=labels))
        return families.values()

    def describe(self) -> Iterable[Metric]:
        """Nothing is known beforehand."""
        return []
