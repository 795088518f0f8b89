"""A manifest with the figures that follow from its records: what cards, tables and pages show."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, computed_field

from isslim.types.manifest import (
    AxisRecord,
    LatencyRecord,
    Manifest,
    Metric,
    Ratio,
    VariantRecord,
)
from isslim.types.recommendation import recommended
from isslim.types.wording import axis_name, describe_run


class QualityFigure(BaseModel):
    """A variant's quality on the held-out data, with the sample behind it."""

    metric: Metric = Field(description="what was evaluated", examples=["perplexity"])
    value: float = Field(description="in that metric", examples=[33.2])
    loss: float = Field(
        description="how much worse than the original, as `loss` of the variant", examples=[0.044]
    )
    low: float | None = Field(
        description="lower end of the loss's 95 % interval; null: the original, or none can be "
        "given",
        examples=[0.031],
    )
    high: float | None = Field(description="upper end of it", examples=[0.057])
    count: int | None = Field(
        description="size of the sample; null: not recorded", examples=[10000]
    )
    unit: str | None = Field(description="what was counted", examples=["tokens"])


class SpeedFigure(BaseModel):
    """How fast a variant is in one of the runs that were timed."""

    run: str = Field(description="what was run", examples=["one text of 30 tokens"])
    steps: int = Field(description="as in `latency`", examples=[30])
    batch: int = Field(description="as in `latency`", examples=[1])
    device: str = Field(description="where it ran", examples=["cpu"])
    primary: bool = Field(description="the one that the verdict is about", examples=[True])
    over_int8: Ratio | None = Field(
        description="the time of int8 alone (`original-int8`) / its own; null: not timed beside "
        "it, or not steadily"
    )
    over_original: Ratio | None = Field(
        description="the original's time / its own; null: not timed steadily"
    )


class VariantView(VariantRecord):
    """A variant with its totals, and with its ratios to int8 alone and to the original.

    Parameters and multiply-adds are sums over its parts, the speed-up is that of the primary
    latency.
    """

    # What is computed is also read, by a client: it is computed again.
    model_config = ConfigDict(extra="ignore")

    size_ratio: float = Field(description="file size / the original's", examples=[0.126])
    quality: QualityFigure | None = Field(
        description="null: no figure of its quality comes from data that nothing was fitted to"
    )
    speeds: list[SpeedFigure] = Field(
        description="against int8 alone and the original, a figure for each record of `latency`"
    )
    recommended: bool = Field(
        description="of the compressed variants, the one to use: the fastest as far as "
        "measurements can tell, and of equals the smallest",
        examples=[True],
    )

    @computed_field(  # type: ignore[prop-decorator]
        description="parameters of all parts", examples=[2571596]
    )
    @property
    def parameters(self) -> int:
        """Parameters of all parts."""
        return super().parameters

    @computed_field(  # type: ignore[prop-decorator]
        description="multiply-adds of all parts, per token or step", examples=[2340000]
    )
    @property
    def mult_adds(self) -> int:
        """Multiply-adds of all parts, per token or step."""
        return super().mult_adds

    @computed_field(  # type: ignore[prop-decorator]
        description="original's time / its own; null: not timed, or not steadily", examples=[4.1]
    )
    @property
    def speedup(self) -> float | None:
        """Of the primary latency."""
        return None if self._over_original is None else self._over_original.median

    @computed_field(  # type: ignore[prop-decorator]
        description="lower end of its 95 % interval", examples=[4.0]
    )
    @property
    def speedup_low(self) -> float | None:
        """Of the primary latency."""
        return None if self._over_original is None else self._over_original.low

    @computed_field(  # type: ignore[prop-decorator]
        description="upper end of its 95 % interval", examples=[4.2]
    )
    @property
    def speedup_high(self) -> float | None:
        """Of the primary latency."""
        return None if self._over_original is None else self._over_original.high

    @computed_field(  # type: ignore[prop-decorator]
        description="time of int8 alone / its own, at the primary latency; null: not timed beside "
        "it, or not steadily"
    )
    @property
    def over_int8(self) -> Ratio | None:
        """Of the primary latency."""
        return self.primary_latency.over_int8 if self.latency else None

    @property
    def _over_original(self) -> Ratio | None:
        return self.primary_latency.over_original if self.latency else None


class AxisView(AxisRecord):
    """An axis with its name in words."""

    label: str = Field(description="for people", examples=["LSTM layer 1"])


class ManifestView(Manifest):
    """The bundle's manifest, with the figures that follow from it."""

    # Narrower items, which are never added to.
    axes: list[AxisView] = Field(  # type: ignore[assignment]
        description="the components kept on each axis"
    )
    variants: list[VariantView] = Field(  # type: ignore[assignment]
        description="the graphs, the original first"
    )


def manifest_view(manifest: Manifest) -> ManifestView:
    """A manifest with its figures."""
    axes = [AxisView(**dict(each), label=axis_name(each.name)) for each in manifest.axes]
    whole = dict(manifest) | {"axes": axes, "variants": variant_views(manifest)}
    return ManifestView.model_validate(whole)


def variant_views(manifest: Manifest) -> list[VariantView]:
    """The variants with their figures, the original first."""
    best = recommended(manifest.variants)
    return [
        VariantView(
            **dict(each),
            size_ratio=each.size_bytes / manifest.variants[0].size_bytes,
            quality=_quality(manifest, each),
            speeds=[_speed(manifest, record, each) for record in each.latency],
            recommended=each is best,
        )
        for each in manifest.variants
    ]


def _speed(manifest: Manifest, record: LatencyRecord, variant: VariantRecord) -> SpeedFigure:
    """The figures of one latency.

    Args:
        manifest: of the variant.
        record: of the latency.
        variant: that it was measured of.
    """
    return SpeedFigure(
        run=describe_run(manifest.task, record.steps, record.batch, record.run),
        steps=record.steps,
        batch=record.batch,
        device=record.device,
        primary=record is variant.primary_latency,
        over_int8=record.over_int8,
        over_original=record.over_original,
    )


def _quality(manifest: Manifest, variant: VariantRecord) -> QualityFigure | None:
    """The quality of one variant; all variants were evaluated on the same sample.

    Args:
        manifest: of all variants.
        variant: one of them.
    """
    if manifest.provenance.not_evaluated is not None and variant is not manifest.variants[0]:
        return None
    own = variant.estimate
    known = own or next((each.estimate for each in manifest.variants if each.estimate), None)
    return QualityFigure(
        metric=manifest.metric,
        value=variant.metrics[manifest.metric],
        loss=variant.loss,
        low=own and own.low,
        high=own and own.high,
        count=known and known.count,
        unit=known and known.unit,
    )
