"""Responses about models and their latency, and about the service's health."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AliasChoices, BaseModel, Field

from isslim.types.manifest import LatencyRecord, Metric, Task, VariantName
from isslim.types.schemas.figures import ManifestView, VariantView

Owner = Annotated[
    str | None,
    Field(description="name of the key that made it; null: none was asked for", examples=["lab"]),
]


class ModelSummary(BaseModel):
    """A model in the list."""

    id: str = Field(
        description="the bundle's id, derived from its content", examples=["5f0c1d2e3a4b5c6d"]
    )
    name: str = Field(
        description="the name in its recipe; for a damaged manifest its id", examples=["demo"]
    )
    created_at: datetime | None = Field(
        description="when it was made; null: its manifest is damaged",
        examples=["2026-11-24T12:00:00Z"],
    )
    task: Task | None = Field(
        description="kind of model; null: its manifest is damaged",
        examples=["language-model"],
    )
    metric: Metric | None = Field(
        description="the metric of the variants' losses; null: its manifest is damaged",
        examples=["perplexity"],
    )
    variants: list[VariantView] = Field(description="the published variants, the original first")
    random_inputs: bool = Field(
        default=False,
        description="it was calibrated and timed on random inputs, as none were sent",
        examples=[False],
    )
    not_evaluated: str | None = Field(
        default=None,
        validation_alias=AliasChoices("not_evaluated", "not_judged"),  # of earlier services
        description="why no figure of its quality comes from data that was not calibrated on; "
        "null: the figures do",
        examples=["one recorded run was sent, which calibration needs"],
    )
    proofs: int = Field(
        default=0,
        description="checks that it passed before it was published; the manifest has each",
        examples=[5],
    )
    issues: list[str] = Field(
        default=[],
        description="why it cannot be used, such as a file that was changed on disk; empty: "
        "no problem is known",
        examples=[["original.onnx has another SHA-256"]],
    )
    owner: Owner = None


class ModelDetail(BaseModel):
    """A model with its whole manifest."""

    id: str = Field(
        description="the bundle's id, made of its content", examples=["5f0c1d2e3a4b5c6d"]
    )
    manifest: ManifestView = Field(description="the bundle's manifest, with its figures")
    unserved: str = Field(
        default="",
        description="why nothing answers for it here, such as a plug-in that is missing; empty: "
        "the endpoint of its kind does (`GET /kinds`)",
        examples=[""],
    )
    owner: Owner = None


class LatencyResponse(BaseModel):
    """A paired comparison on this host."""

    model_id: str = Field(description="the bundle's id", examples=["5f0c1d2e3a4b5c6d"])
    measured_at: datetime = Field(description="when", examples=["2026-11-24T12:00:00Z"])
    cached: bool = Field(description="measured before, not now", examples=[False])
    baseline: VariantName = Field(
        description="whose time is divided by the others'", examples=["original"]
    )
    results: dict[str, list[LatencyRecord]] = Field(
        description="per variant, one record per device"
    )


class Health(BaseModel):
    """Whether the service is alive, or ready."""

    status: str = Field(description="`ok`", examples=["ok"])
    detail: str = Field(
        default="", description="what there is", examples=["1 models, 0 jobs queued"]
    )
    warnings: list[str] = Field(
        default=[],
        description="what its operator should know; it answers nevertheless",
        examples=[["listening on 0.0.0.0 without keys: ..."]],
    )
    workers: int | None = Field(
        default=None,
        description="workers that live, on all machines that share the database; null: not known",
        examples=[1],
    )


class About(BaseModel):
    """What answers here, and where to go on."""

    name: str = Field(description="of the software", examples=["isslim"])
    version: str = Field(description="of the software", examples=["1.2.3"])
    page: str | None = Field(
        default=None, description="page for people; null: not offered", examples=["/ui/"]
    )
    docs: str = Field(description="documentation of every request", examples=["/docs"])
    openapi: str = Field(description="the OpenAPI document", examples=["/openapi.json"])
    models: str = Field(description="list of the models", examples=["/models"])
