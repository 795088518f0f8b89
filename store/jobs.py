"""What a job is, and the protocol behind which the queue engine stands.

The service enqueues and reads; the worker runs. Both see jobs only through `JobQueue`.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from store.manifest import CurvePoint, Recipe, Sha256


class JobState(StrEnum):
    """A job's life: queued -> running -> one of the four ends."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    BUDGET_NOT_MET = "budget-not-met"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True when nothing more will happen."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class UploadRef(BaseModel):
    """One uploaded file, content-addressed in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256
    filename: str
    size_bytes: int


class CompressionRequest(BaseModel):
    """What `POST /compress` asks for: uploads by hash, and the recipe. Equal requests are one job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: UploadRef
    config: UploadRef | None = Field(default=None, description="JSON config beside a safetensors file")
    vocabulary: UploadRef | None = None
    calibration: UploadRef | None = None
    held_out: UploadRef | None = None
    recipe: Recipe = Recipe()

    @property
    def uploads(self) -> list[UploadRef]:
        """The uploads that are there."""
        given = (self.model, self.config, self.vocabulary, self.calibration, self.held_out)
        return [upload for upload in given if upload is not None]


class Problem(BaseModel):
    """Why a job ended without a bundle, in words for the person who uploaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="stable slug", examples=["unknown-architecture"])
    title: str
    detail: str
    issues: list[str] = []


class Job(BaseModel):
    """A job as everybody sees it."""

    id: str
    state: JobState
    name: str
    created_at: datetime
    updated_at: datetime
    stage: str = Field(default="", examples=["repair"])
    progress: float = Field(default=0.0, ge=0, le=1)
    message: str = ""
    log: list[str] = Field(default=[], description="the last lines, oldest first")
    attempts: int = 0
    model_id: str | None = Field(default=None, description="the bundle, once succeeded")
    problem: Problem | None = None
    curve: list[CurvePoint] = Field(default=[], description="kept when the budget could not be met")
    request: CompressionRequest


class JobQueue(Protocol):
    """Enqueue, look, cancel. Every method may raise `store.errors.NotFound` for an unknown id."""

    def enqueue(self, request: CompressionRequest) -> Job:
        """Queues the request, or returns the job that already stands for it (a failed or cancelled one is run anew)."""

    def get(self, job_id: str) -> Job:
        """The job as it is now."""

    def list(self) -> list[Job]:
        """All jobs, newest first, without their logs."""

    def cancel(self, job_id: str) -> Job:
        """Asks a queued or running job to stop; an ended one stays as it is."""
