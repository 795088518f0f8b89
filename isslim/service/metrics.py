"""Prometheus metrics: each process counts its own, and prints those of all processes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

_CHANGES = (1e-6, 1e-5, 1e-4, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1)
_RATIOS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1, 1.1, 1.5, 2, 3, 5, 10)
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class TrialMetrics:
    """Live comparisons of aliases' shadows and canaries.

    Args:
        registry: of all metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.log_prob_change = Histogram(
            "isslim_shadow_log_prob_change",
            "Absolute difference of a request's mean log-probability per token, nats",
            ("alias",),
            buckets=_CHANGES,
            registry=registry,
        )
        self.same_decision = Counter(
            "isslim_shadow_same_decision",
            "Requests whose every most likely token, or answer, was the same, and others",
            ("alias", "same"),
            registry=registry,
        )
        self.time_ratio = Histogram(
            "isslim_shadow_time_ratio",
            "Run time of what is tried / of what the alias points at",
            ("alias",),
            buckets=_RATIOS,
            registry=registry,
        )
        self.dropped = Counter(
            "isslim_shadow_dropped",
            "Requests that were not compared, as others waited",
            ("alias",),
            registry=registry,
        )
        self.answers = Histogram(
            "isslim_canary_answer_seconds",
            "Time of an answer of an alias with a canary, by who gave it, whatever the protocol",
            ("alias", "by", "status"),
            buckets=_SECONDS,
            registry=registry,
        )

    def note_answer(self, alias: str, is_canary: bool, status: int, seconds: float) -> None:
        """Records an answer of an alias that has a canary.

        Args:
            alias: its name.
            is_canary: whether the canary gave it.
            status: of the answer.
            seconds: that it took.
        """
        who = "canary" if is_canary else "alias"
        self.answers.labels(alias, who, str(status)).observe(seconds)

    def observe(self, alias: str, figures: Mapping[str, float], *, is_text: bool) -> None:
        """Records a comparison.

        Args:
            alias: its name.
            figures: of the comparison (`isslim/store/comparisons.py`).
            is_text: whether there are log-probabilities.
        """
        if is_text:
            self.log_prob_change.labels(alias).observe(figures["change"])
        self.same_decision.labels(alias, str(figures["same"] == 1.0).lower()).inc()
        self.time_ratio.labels(alias).observe(math.exp(figures["log_time_ratio"]))


class Metrics:
    """The metrics, in their own registry, so that several apps can share a process.

    Where `PROMETHEUS_MULTIPROC_DIR` names a folder, `prometheus_client` keeps them in files there.

    Attributes:
        registry: those of this process.
        trials: of shadows and canaries.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.trials = TrialMetrics(self.registry)
        self.requests = Histogram(
            "http_server_request_duration_seconds",
            "Time of an HTTP request",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.queued = Histogram(
            "inference_queue_seconds",
            "Time that a run waited, for each variant of it; labels are empty where a run failed "
            "before they were known",
            ("model", "variant", "device"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.runs = Histogram(
            "inference_run_seconds",
            "Time of one request's runs of one variant; of shared runs its share by tokens",
            ("model", "variant", "device"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.shared = Histogram(
            "inference_shared_inputs",
            "Inputs that shared a run",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.pending = Gauge(
            "inference_pending",
            "Runs waiting or running",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.jobs = Gauge(
            "jobs",
            "Jobs in each state",
            ("state",),
            registry=self.registry,
            multiprocess_mode="livemostrecent",
        )
        self.models = Gauge(
            "models_loaded",
            "Models in memory, in each process that has them",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.model_bytes = Gauge(
            "models_loaded_bytes",
            "Bytes of the open graphs",
            registry=self.registry,
            multiprocess_mode="livesum",
        )

    def forget_model(self, bundle_id: str) -> None:
        """Removes what was counted of a deleted model: there may be thousands in time.

        `prometheus_client` keeps it where several processes count.
        """
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            for histogram in (self.queued, self.runs):
                histogram.remove_by_labels({"model": bundle_id})

    def of_all_processes(self) -> CollectorRegistry:
        """What `/metrics` prints."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return self.registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry
