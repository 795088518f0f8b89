"""What happens to the jobs that a worker attends to: a line in its log for each, and its counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from isslim.compress.worker.metrics import WorkerMetrics
from isslim.store.errors import StoreError
from isslim.store.records import JobRecords
from isslim.store.tracing import start_span, trace_context
from isslim.types.jobs import Job, JobState

_LOG = logging.getLogger("worker.jobs")
_CURRENT: ContextVar[Attended | None] = ContextVar("attended_job", default=None)


@dataclass
class Attended:
    """A job while a worker attends to it.

    Attributes:
        job_id: which job.
        run: which run of it.
        began: when it was taken, by `time.monotonic`.
        state: that it ended in; empty: it has not.
        stage: that it is in; empty: none yet.
    """

    job_id: str
    run: int
    began: float = field(default_factory=time.monotonic)
    state: str = ""
    stage: str = ""
    _parent: Any = field(default_factory=trace_context)
    _span: Any = None
    _stage_began: float = field(default_factory=time.monotonic)

    def enter(self, stage: str) -> None:
        """Notes a stage of the job; what is told again is not noted again."""
        if stage == self.stage:
            return
        now = time.monotonic()
        facts = {"stage": stage, "before": self.stage, "seconds": round(now - self._stage_began, 3)}
        self.stage, self._stage_began = stage, now
        self.end_span()
        self._span = start_span(f"stage {stage}", self._parent, {"isslim.job_id": self.job_id})
        self.log("job stage", **facts)

    def end_span(self) -> None:
        """Ends the span of the stage that it is in."""
        if self._span is not None:
            self._span.end()
            self._span = None

    def log(self, event: str, **facts: object) -> None:
        """Writes a line.

        Args:
            event: what happened.
            facts: beside the ids.
        """
        _LOG.info(event, extra={"job_id": self.job_id, "run": self.run, **facts})

    @property
    def seconds(self) -> float:
        """Since it was taken."""
        return round(time.monotonic() - self.began, 3)


def enter_stage(stage: str) -> None:
    """Notes a stage of the job that this task attends to; of an inspection it does nothing."""
    attended = _CURRENT.get()
    if attended is not None:
        attended.enter(stage)


class JobEvents:
    """The events of one worker's jobs.

    Args:
        records: the table of jobs.
        metrics: the worker's.
    """

    def __init__(self, records: JobRecords, metrics: WorkerMetrics) -> None:
        self._records, self._metrics = records, metrics

    @contextmanager
    def attending(self, job_id: str, run: int) -> Iterator[Attended]:
        """Notes that a job is taken, and at the end of the block how that ended.

        Args:
            job_id: which job.
            run: which run of it.
        """
        attended = Attended(job_id, run)
        token = _CURRENT.set(attended)
        attended.log("job taken")
        try:
            with self._metrics.running.track_inprogress():
                yield attended
        finally:
            _CURRENT.reset(token)
            attended.end_span()
            self._note_end(attended)

    def _note_end(self, attended: Attended) -> None:
        job = self._job(attended.job_id)
        if not attended.state and job is not None:
            attended.state = job.state  # such as cancelled
        if attended.state not in ENDED:
            attended.log("job handed back", seconds=attended.seconds)
            return
        kind = "" if job is None or job.inspection is None else job.inspection.kind or ""
        outcome = JobState(attended.state)
        if job is not None:
            self._metrics.note_end(kind, job.request.recipe, outcome, attended.seconds)
        facts = {"problem": job.problem.kind} if job is not None and job.problem else {}
        attended.log("job ended", outcome=outcome, seconds=attended.seconds, task=kind, **facts)

    def _job(self, job_id: str) -> Job | None:
        try:
            return self._records.get(job_id)
        except StoreError:  # the line is written nevertheless
            return None


ENDED = frozenset(state for state in JobState if state.ended)
