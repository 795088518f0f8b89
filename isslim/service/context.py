"""What the routes share: stores, queue, models, runs. Built once in `main`, found on the app."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from isslim.service.bodies import BodyReader
from isslim.service.metrics import Metrics
from isslim.service.serving.admission import Admission
from isslim.service.serving.compare_variants import VariantComparison
from isslim.service.serving.executor import Executor
from isslim.service.serving.latency_cache import LatencyCache
from isslim.service.serving.registry import ModelRegistry
from isslim.settings.service import ServiceSettings
from isslim.store.bundles import BundleStore
from isslim.store.liveness import Locks, locks_of
from isslim.store.queue import JobQueue
from isslim.store.sweeps import SweepStore
from isslim.store.uploads import UploadStore

CLOSE_SECONDS = 2.0
"""How long models may take to close; what is left of them ends with the process."""


@dataclass(frozen=True)
class AppContext:
    """The parts of one service process.

    Attributes:
        settings: of the process.
        metrics: that it counts.
        models: in memory, over the bundle store.
        uploads: where files are kept that jobs need.
        queue: of jobs.
        locks: of the workers that live.
        sweeps: of several jobs each.
        bodies: parses requests.
        admission: decides which requests are taken on, and when they end.
        executor: runs them.
        variants: runs several variants for one request.
        latency_cache: comparisons that were made.
        ending: set when the process was asked to end; followers are let go of.
    """

    settings: ServiceSettings
    metrics: Metrics
    models: ModelRegistry
    uploads: UploadStore
    queue: JobQueue
    locks: Locks
    sweeps: SweepStore
    bodies: BodyReader
    admission: Admission
    executor: Executor
    variants: VariantComparison
    latency_cache: LatencyCache = field(default_factory=LatencyCache)
    ending: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def build(cls, settings: ServiceSettings) -> AppContext:
        """Opens stores and database."""
        metrics, bundles = Metrics(), BundleStore(settings)
        queue, executor = JobQueue(settings, bundles), Executor(settings.runs_at_once)
        return cls(
            settings=settings,
            metrics=metrics,
            models=ModelRegistry(
                bundles, settings.memory_limit_bytes, settings.threads, settings.graph_memory_bytes
            ),
            uploads=UploadStore(settings),
            queue=queue,
            locks=locks_of(settings),
            sweeps=SweepStore(queue, bundles),
            bodies=BodyReader(),
            admission=Admission(settings.runs_at_once + settings.waiting_limit, metrics),
            executor=executor,
            variants=VariantComparison(executor, metrics),
        )

    def close(self) -> None:
        """Gives everything back, and waits for no run."""
        self.bodies.close()
        self.executor.close()
        closing = threading.Thread(target=self.models.close, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        self.queue.close()


def context_of(request: Request) -> AppContext:
    """The context of the app that a request came to; a dependency would take 0.05 ms more."""
    context: AppContext = request.app.state.context
    return context


async def _context(request: Request) -> AppContext:
    # A coroutine although it waits for nothing: the framework would send a plain function to a
    # thread and back.
    return context_of(request)


Context = Annotated[AppContext, Depends(_context)]
