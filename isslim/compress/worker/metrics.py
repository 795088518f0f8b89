"""A worker's own metrics, on a port of its own where `ISS_WORKER_METRICS_PORT` names one."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Gauge, Histogram, start_http_server

from isslim.settings.process_metrics import register_own
from isslim.types.jobs import JobState
from isslim.types.recipe import Mode, Recipe

_SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 3 * 3600, 12 * 3600, 24 * 3600)


class WorkerMetrics:
    """What one worker counts, in a registry of its own.

    Attributes:
        registry: of its metrics.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._jobs = Histogram(
            "isslim_job_seconds",
            "Time of a job that this worker ended, from where it took it",
            ("task", "mode", "outcome"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        # Of uploads that were not understood: there from the start, so that a sum is 0, and not
        # absent, until a job has ended.
        for mode in get_args(Mode):
            for state in JobState:
                if state.ended:
                    self._jobs.labels("", mode, state)
        self.running = Gauge(
            "isslim_worker_jobs_running", "Jobs that this worker runs", registry=self.registry
        )
        register_own(self.registry)

    def note_end(self, task: str, recipe: Recipe, outcome: JobState, seconds: float) -> None:
        """Counts a job that has ended.

        Args:
            task: kind of model; empty: the upload was not understood.
            recipe: of the job.
            outcome: its state.
            seconds: since this worker took it.
        """
        self._jobs.labels(task, recipe.mode, outcome).observe(seconds)

    def serve(self, host: str, port: int) -> None:
        """Answers `GET /metrics` in a thread.

        Args:
            host: address to listen on.
            port: of it.

        Raises:
            OSError: when the port is taken.
        """
        start_http_server(port, host, self.registry)
