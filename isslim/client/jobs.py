"""The client's requests about uploads, jobs and sweeps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Unpack

from pydantic import TypeAdapter

from isslim.client.events import EventsUnavailable
from isslim.client.transport import Transport, part
from isslim.types.inspection import Inspection, PendingInspection
from isslim.types.jobs import Job, Sweep
from isslim.types.kinds.uploads import Companions
from isslim.types.recipe import Recipe

_JOBS = TypeAdapter(list[Job])
_SWEEPS = TypeAdapter(list[Sweep])
_INSPECTION: TypeAdapter[Inspection | PendingInspection] = TypeAdapter(
    Inspection | PendingInspection
)
POLL_SECONDS = 0.3
PAGE = 1000
"""Jobs that are asked for at a time."""


class JobsClient(Transport):
    """Uploads models, and follows what becomes of them."""

    def compress(
        self, model: Path, *, recipe: Recipe | None = None, **companions: Unpack[Companions]
    ) -> Job:
        """Uploads a model and queues its compression.

        Args:
            model: the model's file.
            recipe: options of the compression; None for the defaults.
            companions: the files beside it.

        Raises:
            ProblemError: when the service refuses it.
        """
        return Job.model_validate(self._upload("/compress", model, companions, recipe, {}))

    def inspect(
        self, model: Path, *, recipe: Recipe | None = None, **companions: Unpack[Companions]
    ) -> Inspection:
        """Uploads a model and returns what is understood of it; nothing is compressed.

        A refusal is also a result: its `understood` is false.

        Args:
            model: the model's file.
            recipe: options that a compression would have; None for the defaults.
            companions: the files beside it.

        Raises:
            ProblemError: when the service refuses the form, or no worker is running.
        """
        answer = self._upload("/inspect", model, companions, recipe, {})
        found = _INSPECTION.validate_python(answer)
        while isinstance(found, PendingInspection):  # it takes longer than the service waits
            time.sleep(POLL_SECONDS)
            found = _INSPECTION.validate_python(self._ask("GET", f"/inspections/{part(found.id)}"))
        return found

    def sweep(
        self,
        model: Path,
        variations: list[dict[str, Any]],
        *,
        recipe: Recipe | None = None,
        **companions: Unpack[Companions],
    ) -> Sweep:
        """Uploads a model and queues a compression for each variation of the recipe.

        Args:
            model: the model's file.
            variations: fields that replace the recipe's, such as `{"budget": {"perplexity_rise":
                0.02}}`.
            recipe: the options that the variations share.
            companions: the files beside it.

        Raises:
            ProblemError: when the service refuses it.
        """
        data = {"variations": json.dumps(variations)}
        return Sweep.model_validate(self._upload("/sweeps", model, companions, recipe, data))

    def sweeps(self) -> list[Sweep]:
        """All sweeps, newest first."""
        return _SWEEPS.validate_python(self._ask("GET", "/sweeps"))

    def get_sweep(self, sweep_id: str) -> Sweep:
        """The current state of a sweep."""
        return Sweep.model_validate(self._ask("GET", f"/sweeps/{part(sweep_id)}"))

    def cancel_sweep(self, sweep_id: str) -> Sweep:
        """Cancels a sweep's jobs."""
        return Sweep.model_validate(self._ask("DELETE", f"/sweeps/{part(sweep_id)}"))

    def job(self, job_id: str) -> Job:
        """The current state of a job."""
        return Job.model_validate(self._ask("GET", f"/jobs/{part(job_id)}"))

    def jobs(self, limit: int = 100, *, model_id: str | None = None) -> list[Job]:
        """The newest jobs, newest first.

        Args:
            limit: how many at most.
            model_id: only those that made this model; None: all.
        """
        found: list[Job] = []
        query = f"?limit={min(limit, PAGE)}"
        if model_id is not None:
            query += f"&model_id={part(model_id)}"
        while query and len(found) < limit:
            content, query = self._page(f"/jobs{query}")
            found += _JOBS.validate_python(content)
        return found[:limit]

    def compress_again(self, job_id: str, changes: dict[str, Any]) -> Job:
        """Queues a job on the files of another one.

        Args:
            job_id: which job's files.
            changes: fields that replace those of its recipe, such as `{"name": "smaller",
                "budget": {"size_ratio": 0.3}}`.

        Raises:
            ProblemError: when there is no such job, its files are gone, or the recipe is refused.
        """
        body = {"changes": changes}
        return Job.model_validate(self._ask("POST", f"/jobs/{part(job_id)}/again", json=body))

    def cancel(self, job_id: str) -> Job:
        """Cancels a job."""
        return Job.model_validate(self._ask("DELETE", f"/jobs/{part(job_id)}"))

    def events(self, job_id: str) -> Iterator[Job]:
        """The job now, and at every change until it has ended.

        The service sends the changes; where events are not to be had, such as behind a proxy that
        withholds them, the job is polled.

        Args:
            job_id: which job.

        Raises:
            ProblemError: when there is no such job.
            Unreachable: when the service cannot be reached, or is away for longer than a restart
                takes.
        """
        with suppress(EventsUnavailable):
            for event in self._events(f"/jobs/{part(job_id)}/events"):
                if event.name == "job":
                    job = Job.model_validate_json(event.data)
                    yield job
                    if job.state.ended:
                        return
        yield from self._polled(job_id)

    def wait(self, job_id: str, on_change: Callable[[Job], None] | None = None) -> Job:
        """Waits until a job has ended.

        Args:
            job_id: which job.
            on_change: called with the job, now and at every change.

        Raises:
            ProblemError: when there is no such job.
            Unreachable: as of `events`.
        """
        for job in self.events(job_id):
            if on_change is not None:
                on_change(job)
        return job

    def _polled(self, job_id: str) -> Iterator[Job]:
        """The job at every change, by asking for it again and again."""
        before: Job | None = None
        while before is None or not before.state.ended:
            job = self.job(job_id)
            if job != before:
                yield job
                before = job
            if not job.state.ended:
                time.sleep(POLL_SECONDS)
