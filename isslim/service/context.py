"""The state that routes share: stores, queue, models, runs. Built in `main`, kept on the app."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from isslim.service.access.control import AccessControl
from isslim.service.bodies import BodyReader
from isslim.service.large_bodies import LARGE_AT_ONCE, LargeBodies
from isslim.service.metrics import Metrics
from isslim.service.serving.admission import Admission
from isslim.service.serving.compare_variants import VariantComparison
from isslim.service.serving.executor import Executor
from isslim.service.serving.latency_cache import MEASURED, LatencyCache
from isslim.service.serving.registry import REMOVED, ModelRegistry
from isslim.service.serving.signed_states import SignedStates
from isslim.service.serving.trials import Trials
from isslim.service.siblings import Siblings
from isslim.settings.service import ServiceSettings
from isslim.store.aliases import AliasStore
from isslim.store.audit import AuditStore
from isslim.store.bundles import BundleStore
from isslim.store.comparisons import ComparisonStore
from isslim.store.database_check import DatabaseCheck
from isslim.store.keys import shared_key
from isslim.store.liveness import locks_of
from isslim.store.locks import Locks
from isslim.store.owners import Owners
from isslim.store.queue import JobQueue
from isslim.store.sweeps import SweepStore
from isslim.store.uploads import UploadStore

CLOSE_SECONDS = 2.0
"""Time limit for closing models; any that remain end with the process."""


@dataclass(frozen=True)
class AppContext:
    """The parts of one service process.

    Attributes:
        settings: of the process.
        access: who may ask what.
        audit: who changed what.
        owners: whose jobs and models are.
        metrics: its metrics.
        models: in memory, over the bundle store.
        uploads: the files that jobs need.
        queue: of jobs.
        locks: of the living workers.
        sweeps: of several jobs each.
        bodies: parses requests.
        large_bodies: of runs, in memory.
        admission: decides which requests are admitted, and when they end.
        executor: runs them.
        variants: runs several variants for one request.
        states: of texts, in the hands of their senders.
        trials: of aliases' shadows and canaries.
        latency_cache: earlier latency comparisons.
        siblings: the service's other processes.
        database_check: whether its file is whole.
        ending: set when the process was asked to stop; event streams end then.
    """

    settings: ServiceSettings
    access: AccessControl
    audit: AuditStore
    owners: Owners
    metrics: Metrics
    models: ModelRegistry
    uploads: UploadStore
    queue: JobQueue
    locks: Locks
    sweeps: SweepStore
    bodies: BodyReader
    large_bodies: LargeBodies
    admission: Admission
    executor: Executor
    variants: VariantComparison
    states: SignedStates
    trials: Trials
    latency_cache: LatencyCache
    siblings: Siblings
    database_check: DatabaseCheck
    ending: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def build(cls, settings: ServiceSettings, siblings: Siblings) -> AppContext:
        """Opens stores and database.

        Args:
            settings: of this process.
            siblings: the service's other processes.
        """
        metrics, bundles = Metrics(), BundleStore(settings)
        queue = JobQueue(settings, bundles)
        executor = Executor(settings.runs_at_once, metrics.shared.observe)
        admission = Admission(settings.runs_at_once + settings.waiting_limit, metrics)
        engine = queue.records.engine
        models = ModelRegistry(
            bundles,
            AliasStore(engine),
            settings.memory_limit_bytes,
            settings.threads,
            settings.graph_memory_bytes,
            lambda step, seconds: metrics.model_loads.labels(step).observe(seconds),
        )
        return cls(
            settings=settings,
            access=AccessControl(settings, siblings.folder),
            owners=Owners(engine),
            audit=AuditStore(engine, settings.keep_audit_days, settings.keep_audit_entries),
            metrics=metrics,
            models=models,
            uploads=UploadStore(settings),
            queue=queue,
            locks=locks_of(settings),
            sweeps=SweepStore(queue, bundles),
            bodies=BodyReader(),
            large_bodies=LargeBodies(
                settings.body_limit_bytes, max(1, LARGE_AT_ONCE // _processes(settings))
            ),
            admission=admission,
            executor=executor,
            variants=VariantComparison(executor, metrics),
            states=SignedStates(lambda: _state_key(settings), settings.state_seconds),
            trials=Trials(models, executor, admission, metrics.trials, ComparisonStore(engine)),
            latency_cache=LatencyCache(siblings),
            siblings=siblings,
            database_check=DatabaseCheck(settings),
        )

    def heard(self) -> Mapping[str, Callable[..., object]]:
        """What this process does when it hears of something from its siblings, by subject."""
        return {REMOVED: self.models.forget, MEASURED: self.latency_cache.remember}

    def unload(self, name: str) -> None:
        """Removes a model from the memory of all processes; the next request loads it again.

        Raises:
            NotFound: when there is no such model.
        """
        bundle_id = self.models.resolve(name)
        self.models.forget(bundle_id)
        self.siblings.tell(REMOVED, bundle_id)

    def delete(self, bundle_id: str) -> None:
        """Removes a model from disk and from the memory of all processes.

        Raises:
            NotFound: when there is no such model.
        """
        self.models.delete(bundle_id)
        self.queue.forget_model(bundle_id)
        self.owners.forget("model", bundle_id)
        self.metrics.forget_model(bundle_id)
        self.siblings.tell(REMOVED, bundle_id)

    def note_own(self) -> None:
        """Updates what this process alone knows: its models in memory."""
        self.metrics.note_process()
        self.metrics.models.set(self.models.count())
        self.metrics.model_bytes.set(self.models.memory_bytes())

    def note_jobs(self) -> None:
        """Updates what the database says of jobs and workers."""
        try:
            counts, oldest = self.queue.counts(), self.queue.records.oldest_queued_seconds()
            workers = self.locks.held()
        except Exception:
            # Whatever it is: all other figures are needed most when something does not work.
            self.metrics.jobs.note_silence()
        else:
            self.metrics.jobs.note(counts, oldest, workers)

    def check_readable(self) -> dict[str, int]:
        """Looks whether database, storage and keys can be read; returns the jobs by state.

        Raises:
            StoreError: when database or storage cannot.
            RequestError: (keys-unreadable) when the file of keys cannot.
        """
        self.access.check_readable()
        counts = self.queue.counts()
        self.database_check.raise_damage()
        self.models.bundles.check_readable()
        return counts

    def close(self) -> None:
        """Releases everything without waiting for runs."""
        self.bodies.close()
        self.executor.close()
        self.trials.close()
        closing = threading.Thread(target=self.models.close, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        self.queue.close()


def _processes(settings: ServiceSettings) -> int:
    """Among how many processes limits are divided; `auto` is a number in each of several."""
    return 1 if settings.processes == "auto" else settings.processes


def _state_key(settings: ServiceSettings) -> bytes:
    if settings.state_key is not None:
        return settings.state_key.get_secret_value().encode()
    return shared_key(settings.home / "state.key")


def context_of(request: Request) -> AppContext:
    """The context of a request's app; a dependency would take 0.05 ms more."""
    context: AppContext = request.app.state.context
    return context


async def _context(request: Request) -> AppContext:
    # A coroutine although it awaits nothing: the framework would run a plain function in a thread.
    return context_of(request)


Context = Annotated[AppContext, Depends(_context)]
