"""Prometheus metrics of one service process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """The metrics, in their own registry, so that several apps can share a process.

    Attributes:
        registry: what `/metrics` prints.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
        self.pending = Gauge("inference_pending", "Runs waiting or running", registry=self.registry)
        self.jobs = Gauge("jobs", "Jobs in each state", ("state",), registry=self.registry)
        self.models = Gauge("models_loaded", "Models in memory", registry=self.registry)
        self.model_bytes = Gauge(
            "models_loaded_bytes", "Bytes of the open graphs", registry=self.registry
        )
