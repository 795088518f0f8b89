"""Prometheus metrics: each process counts its own, and prints those of all processes."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from isslim.service.earlier_metrics import WithEarlierNames
from isslim.settings.process_metrics import register_own, register_processes

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of `prometheus_client`: the folder in which several processes count together."""
LABELS = ("model", "model_id", "variant", "device", "protocol")
"""Of the times of runs; see `RunLabels`."""
REASONS = {"overloaded": "overloaded", "rate-limited": "rate", "deadline-exceeded": "deadline"}
"""Why requests are refused although nothing is wrong with them, by the kind of the problem."""
_CHANGES = (1e-6, 1e-5, 1e-4, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1)
_RATIOS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1, 1.1, 1.5, 2, 3, 5, 10)
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_LOAD_SECONDS = (0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


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


@dataclass(frozen=True)
class RunLabels:
    """What the times of a run are recorded under; empty where it is not known.

    Attributes:
        model: name of the model.
        model_id: its id.
        device: where it ran.
        protocol: by which it was asked for.
    """

    model: str
    model_id: str
    device: str
    protocol: str

    def of(self, variant: str) -> tuple[str, ...]:
        """The values of `LABELS` for one variant."""
        return self.model, self.model_id, variant, self.device, self.protocol


class Metrics:
    """The metrics, in their own registry, so that several apps can share a process.

    Where `PROMETHEUS_MULTIPROC_DIR` names a folder, `prometheus_client` keeps them in files there.

    Attributes:
        registry: those of this process.
        trials: of shadows and canaries.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.trials = TrialMetrics(registry)
        self.requests = Histogram(
            "http_server_request_duration_seconds",
            "Time of an HTTP request",
            ("http_request_method", "http_route", "http_response_status_code"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.queued = Histogram(
            "isslim_inference_queue_seconds",
            "Time that a run waited, for each variant of it; labels are empty where a run failed "
            "before they were known",
            LABELS,
            buckets=_SECONDS,
            registry=registry,
        )
        self.runs = Histogram(
            "isslim_inference_run_seconds",
            "Time of one request's runs of one variant; of shared runs its share by tokens",
            LABELS,
            buckets=_SECONDS,
            registry=registry,
        )
        self.shared = Histogram(
            "isslim_inference_shared_inputs",
            "Inputs that shared a run",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=registry,
        )
        self.pending = _gauge(
            registry, "isslim_inference_pending", "Requests that wait or run", "livesum"
        )
        self.limit = _gauge(
            registry, "isslim_inference_limit", "Requests that may wait or run", "livesum"
        )
        self.refused = Counter(
            "isslim_inference_refused",
            "Requests that were refused: overloaded, above a rate, or late",
            ("reason",),
            registry=registry,
        )
        for reason in REASONS.values():
            self.refused.labels(reason)
        self.tokens = Counter(
            "isslim_tokens",
            "Tokens of language models: read (scored) and written (generated)",
            ("model", "variant", "kind"),
            registry=registry,
        )
        self.models = _gauge(
            registry,
            "isslim_models_loaded",
            "Models in memory, in each process that has them",
            "livesum",
        )
        self.model_bytes = _gauge(
            registry, "isslim_models_loaded_bytes", "Bytes of the open graphs", "livesum"
        )
        self.model_loads = Histogram(
            "isslim_model_load_seconds",
            "Time of reading a model's files, or of opening its graphs",
            ("step",),
            buckets=_LOAD_SECONDS,
            registry=registry,
        )
        self.jobs = JobMetrics(registry)
        self._collections: Collections | None = None
        if MULTIPROCESS in os.environ:
            self._collections = Collections(registry)
        else:
            register_own(registry)

    def note_texts(
        self, labels: RunLabels, variant: str, seconds: float, *, scored: int, generated: int
    ) -> None:
        """Records the runs of one variant that has written texts.

        Args:
            labels: of the request.
            variant: which one.
            seconds: of its runs.
            scored: tokens that it read.
            generated: tokens that it wrote.
        """
        self.runs.labels(*labels.of(variant)).observe(seconds)
        self.note_tokens(labels.model, variant, scored, "scored")
        self.note_tokens(labels.model, variant, generated, "generated")

    def note_tokens(
        self, model: str, variant: str, count: int, kind: Literal["scored", "generated"]
    ) -> None:
        """Counts tokens of a language model.

        Args:
            model: its name.
            variant: that read or wrote them.
            count: how many.
            kind: whether they were read or written.
        """
        self.tokens.labels(model, variant, kind).inc(count)

    def note_process(self) -> None:
        """Updates what only this process knows of itself, where several count together."""
        if self._collections is not None:
            self._collections.note()

    def note_refusal(self, kind: str) -> None:
        """Counts a refused request, if it is refused for want of room or time.

        Args:
            kind: of the problem.
        """
        if kind in REASONS:
            self.refused.labels(REASONS[kind]).inc()

    def forget_model(self, bundle_id: str) -> None:
        """Removes what was counted of a deleted model: there may be thousands in time.

        `prometheus_client` keeps it where several processes count.
        """
        if MULTIPROCESS not in os.environ:
            for histogram in (self.queued, self.runs):
                histogram.remove_by_labels({"model_id": bundle_id})

    def of_all_processes(self) -> CollectorRegistry:
        """The sums of all processes."""
        if MULTIPROCESS not in os.environ:
            return self.registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        register_processes(registry, os.environ[MULTIPROCESS])
        return registry

    def printed(self) -> Collector:
        """What `/metrics` prints."""
        return WithEarlierNames(self.of_all_processes())


class JobMetrics:
    """Jobs and workers, which the database knows: of all services that share it.

    Args:
        registry: of all metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        latest: Literal["livemostrecent"] = "livemostrecent"
        self._states = Gauge(
            "isslim_jobs",
            "Jobs in each state",
            ("state",),
            registry=registry,
            multiprocess_mode=latest,
        )
        self._oldest = _gauge(
            registry,
            "isslim_oldest_queued_job_seconds",
            "How long the oldest job has waited for a worker; 0: none waits",
            latest,
        )
        self._workers = _gauge(registry, "isslim_workers", "Workers that live", latest)
        self._readable = _gauge(
            registry,
            "isslim_database_up",
            "Whether the database answered; where it did not, figures of jobs are earlier ones",
            latest,
        )

    def note(self, counts: Mapping[str, int], oldest_seconds: float, workers: int) -> None:
        """Records what the database says.

        Args:
            counts: jobs by state.
            oldest_seconds: how long the oldest queued job has waited.
            workers: that live.
        """
        for state, count in counts.items():
            self._states.labels(state).set(count)
        self._oldest.set(oldest_seconds)
        self._workers.set(workers)
        self._readable.set(1)

    def note_silence(self) -> None:
        """Records that the database does not answer."""
        self._readable.set(0)


class Collections:
    """`python_gc_*` of several processes: what each counts is added up.

    Args:
        registry: of all metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counted: dict[tuple[str, int], int] = {}
        self._counters = {
            fact: Counter(f"python_gc_{name}", text, ("generation",), registry=registry)
            for fact, name, text in (
                ("collected", "objects_collected", "Objects collected during gc"),
                ("uncollectable", "objects_uncollectable", "Uncollectable objects found during GC"),
                ("collections", "collections", "Number of times this generation was collected"),
            )
        }

    def note(self) -> None:
        """Adds what was collected since the last call."""
        for generation, stats in enumerate(gc.get_stats()):
            for fact, counter in self._counters.items():
                before = self._counted.get((fact, generation), 0)
                counter.labels(str(generation)).inc(stats[fact] - before)
                self._counted[fact, generation] = stats[fact]


def _gauge(
    registry: CollectorRegistry,
    name: str,
    documentation: str,
    mode: Literal["livesum", "livemostrecent"],
) -> Gauge:
    """A gauge without labels.

    Args:
        registry: of all metrics.
        name: of the metric.
        documentation: what it is.
        mode: how the values of several processes become one.
    """
    return Gauge(name, documentation, registry=registry, multiprocess_mode=mode)
