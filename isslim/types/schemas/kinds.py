"""The kinds of models there are, with their metrics: how a page puts figures into words."""

from __future__ import annotations

import re

from pydantic import BaseModel, Field

from isslim.types.kinds.description import KindDescription
from isslim.types.kinds.metric_format import MetricFormat
from isslim.types.manifest import Metric, Task


class MetricView(BaseModel):
    """How a metric is named, and how its loss becomes a figure: `factor` times the loss."""

    name: Metric = Field(description="name in manifests and budgets", examples=["perplexity"])
    label: str = Field(description="name for people", examples=["perplexity"])
    loss_name: str = Field(description="what its loss is called", examples=["rise of perplexity"])
    axis: str = Field(
        description="the loss as the label of an axis", examples=["rise of perplexity (%)"]
    )
    factor: float = Field(description="converts a loss to the axis's unit", examples=[100.0])
    unit: str = Field(description="of the axis; empty: none", examples=["%"])
    worse: str = Field(
        description="what the metric becomes as it is lost: `higher`, `lower` or `worse`; empty: "
        "it cannot be better than the original's",
        examples=["higher"],
    )


class KindView(BaseModel):
    """A kind of model."""

    name: Task = Field(description="name in manifests", examples=["language-model"])
    title: str = Field(description="name for people", examples=["language model"])
    endpoint: str = Field(description="serves its models", examples=["POST /score"])
    step: str = Field(
        description="the unit per which multiply-adds are counted", examples=["token (step)"]
    )
    quality_limit: str = Field(
        description="the field of a budget that limits its quality", examples=["perplexity_rise"]
    )
    default_budget: float = Field(
        description="that limit where a recipe names none", examples=[0.05]
    )
    interval_note: str = Field(
        description="how intervals of quality are found", examples=["A bootstrap over blocks."]
    )
    metrics: list[MetricView] = Field(description="the usual one first")


def kind_view(kind: KindDescription) -> KindView:
    """A kind as the service describes it."""
    return KindView(
        name=kind.name,
        title=kind.title,
        endpoint=kind.endpoint,
        step=kind.step,
        quality_limit=kind.quality_limit,
        default_budget=kind.default_budget.limits[kind.quality_limit],
        interval_note=kind.interval_note,
        metrics=[_metric(name, each) for name, each in kind.metrics.items()],
    )


def _metric(name: str, scale: MetricFormat) -> MetricView:
    unit = re.search(r"\(([^()]+)\)$", scale.axis)
    return MetricView(
        name=name,
        label=scale.name,
        loss_name=scale.loss_name,
        axis=scale.axis,
        factor=scale.factor,
        unit=unit[1] if unit else "",
        worse=scale.worse,
    )
