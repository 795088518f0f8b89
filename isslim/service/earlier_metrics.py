"""The names that metrics had in release 0.1.0, beside their present ones until release 0.3.0."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

PREFIX = "isslim_"
EARLIER = (
    "isslim_inference_queue_seconds",
    "isslim_inference_run_seconds",
    "isslim_inference_shared_inputs",
    "isslim_inference_pending",
    "isslim_jobs",
    "isslim_models_loaded",
    "isslim_models_loaded_bytes",
)
"""Metrics that had no prefix."""
_LABELS = {"model_id": "model", "variant": "variant", "device": "device", "state": "state"}
"""Labels that they had, by their present names; samples that differ in others are added up."""


class WithEarlierNames(Collector):
    """All metrics of a registry, and some of them once more under their earlier names.

    Args:
        collector: of the metrics.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        for family in self._collector.collect():
            yield family
            if family.name in EARLIER:
                yield _earlier(family)


def _earlier(family: Metric) -> Metric:
    name = family.name.removeprefix(PREFIX)
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for sample in family.samples:
        if sample.name.endswith("_created"):
            continue
        labels = tuple(
            (_LABELS.get(label, label), value)
            for label, value in sample.labels.items()
            if label in _LABELS or label == "le"
        )
        key = sample.name.removeprefix(PREFIX), labels
        values[key] = values.get(key, 0.0) + sample.value
    earlier = Metric(name, f"Earlier name of {family.name}, until release 0.3.0", family.type)
    # Prometheus wants the samples of one histogram side by side, in the order of their buckets:
    # sums keep the order of the first of each.
    for (sample_name, labels), value in sorted(values.items(), key=lambda each: _order(*each[0])):
        earlier.add_sample(sample_name, dict(labels), value)
    return earlier


def _order(name: str, labels: tuple[tuple[str, str], ...]) -> tuple[object, ...]:
    bound = dict(labels).get("le")
    others = tuple(each for each in labels if each[0] != "le")
    return others, not name.endswith("_bucket"), float(bound) if bound else 0.0, name
