"""Jobs and sweeps, as service, worker and client exchange them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from isslim.types.estimates import Estimate
from isslim.types.inspection import Inspection
from isslim.types.kinds.uploads import UploadFields
from isslim.types.manifest import CurvePoint, EpochPoint
from isslim.types.problem import Problem
from isslim.types.provenance import Sha256
from isslim.types.recipe import Recipe


class JobState(StrEnum):
    """A job's state: queued -> running -> one of the four end states."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    BUDGET_NOT_MET = "budget-not-met"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether this is an end state."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class UploadRef(BaseModel):
    """One uploaded file, content-addressed in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256 = Field(description="SHA-256 of its content, which is its key in the store")
    filename: str = Field(description="file name that the sender gave", examples=["model.pt"])
    size_bytes: int = Field(description="size of its content", examples=[20631552])


class CompressionRequest(UploadFields[UploadRef]):
    """The content of a `POST /compress`: uploads by hash, and the recipe.

    Equal requests are one job.
    """

    recipe: Recipe = Field(default=Recipe(), description="the recipe")

    @property
    def uploads(self) -> list[UploadRef]:
        """The uploads that were sent."""
        return [upload for _, upload in self.files]

    @property
    def files(self) -> list[tuple[str, UploadRef]]:
        """Field and upload of those that were sent, the model first."""
        fields = ((name, getattr(self, name)) for name in type(self).model_fields)
        return [(name, upload) for name, upload in fields if isinstance(upload, UploadRef)]


class Job(BaseModel):
    """A job as the service reports it."""

    id: str = Field(
        description="derived from the request: equal requests are one job",
        examples=["419642ce19b52b52119a"],
    )
    state: JobState = Field(description="state of the job", examples=["running"])
    name: str = Field(description="name of the resulting model", examples=["mine"])
    created_at: datetime = Field(
        description="when this run of the job was requested", examples=["2026-11-24T12:00:00Z"]
    )
    updated_at: datetime = Field(
        description="when anything last changed", examples=["2026-11-24T12:01:00Z"]
    )
    stage: str = Field(
        default="", description="stage of the pipeline; empty: not started", examples=["search"]
    )
    progress: float = Field(
        default=0.0, ge=0, le=1, description="share of the whole", examples=[0.4]
    )
    seconds_left: float | None = Field(
        default=None,
        description="what the rest is likely to take, as of `updated_at`: it goes on as fast as so "
        "far, and takes all minutes of distillation, which may end earlier; null: it does not run, "
        "or there is too little to go by",
        examples=[140.0],
    )
    queue_position: int | None = Field(
        default=None,
        description="place among all jobs that wait, from 1; null: it does not wait",
        examples=[2],
    )
    message: str = Field(
        default="",
        description="the last line of the log",
        examples=["40% removed: perplexity 33.35 (+4.2%)"],
    )
    log: list[str] = Field(
        default=[], description="the last lines, oldest first", examples=[["search: ..."]]
    )
    attempts: int = Field(default=0, description="how often a worker has started it", examples=[1])
    model_id: str | None = Field(
        default=None, description="the bundle, once succeeded", examples=["9e0f95b09709d4a3"]
    )
    inspection: Inspection | None = Field(
        default=None,
        description="what was understood of the upload; null: not inspected yet, or omitted "
        "from a list",
    )
    problem: Problem | None = Field(default=None, description="why it ended without a model")
    curve: list[CurvePoint] = Field(
        default=[], description="the trade-off curve, kept when the budget could not be met"
    )
    points: list[CurvePoint] = Field(
        default=[],
        description="the candidates evaluated so far, while the job runs and after it; omitted "
        "from a list",
    )
    epochs: list[EpochPoint] = Field(
        default=[],
        description="the epochs of learn mode so far; omitted from a list",
    )
    request: CompressionRequest = Field(description="the request")
    owner: str | None = Field(
        default=None,
        description="name of the key that asked for it; null: none was asked for",
        examples=["lab"],
    )


class AgainRequest(BaseModel):
    """What another job on the files of a job is to do differently."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"changes": {"name": "smaller", "budget": {"size_ratio": 0.3}}}
        },
    )

    changes: dict[str, Any] = Field(
        description="fields that replace those of the job's recipe",
        examples=[{"name": "smaller", "budget": {"size_ratio": 0.3}}],
    )


class FrontPoint(BaseModel):
    """One model that no other model of the sweep beats in both work and quality."""

    job_id: str = Field(
        description="the job whose curve it is on", examples=["419642ce19b52b52119a"]
    )
    model_id: str | None = Field(
        description="id of this model, if it was published", examples=["9e0f95b09709d4a3"]
    )
    parameters: int = Field(description="of the whole model", examples=[2571596])
    mult_adds: int = Field(description="per token", examples=[2340000])
    loss: float = Field(description="against the original, on the held-out data", examples=[0.045])
    estimate: Estimate | None = Field(
        default=None, description="interval of `loss`; null: none can be given"
    )


class Sweep(BaseModel):
    """A sweep as the service reports it."""

    id: str = Field(
        description="derived from its jobs: equal requests are one sweep",
        examples=["7d0a2b9f3c1e4a5b6c7d"],
    )
    name: str = Field(
        description="common name of the resulting models, each followed by a number",
        examples=["mine"],
    )
    created_at: datetime = Field(
        description="when it was requested", examples=["2026-11-24T12:00:00Z"]
    )
    state: JobState = Field(
        description="running until every job has ended; then succeeded if any job succeeded, "
        "else the worst end state",
        examples=["running"],
    )
    progress: float = Field(description="mean progress of its jobs", examples=[0.4])
    jobs: list[Job] = Field(
        description="its jobs in the order of the variations, without their logs"
    )
    front: list[FrontPoint] = Field(description="its Pareto front, from the least work to the most")
