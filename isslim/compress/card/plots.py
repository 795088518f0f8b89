"""The card's plots as SVG: the trade-off curve, and time, size and quality of every variant.

A colour has one meaning in both: grey is the original, blue what was compressed, light what takes 8
bits. A candidate outside the budget is an empty circle. The same data give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isslim.types.kinds.registry import kind_named, run_label
from isslim.types.manifest import CurvePoint, Manifest, VariantRecord
from isslim.types.quality import metric_format_of
from isslim.types.report import Report
from isslim.types.wording import NOT_STEADY, file_size

ORIGINAL, COMPRESSED = "#4c566a", "#1f78b4"
_COLOURS = {
    "original": ORIGINAL,
    "original-int8": "#aab2c0",
    "compressed": COMPRESSED,
    "compressed-int8": "#8ec3e6",
}
STYLE: Any = {
    "svg.hashsalt": "isslim",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def plot_curve(report: Report, manifest: Manifest, path: Path) -> None:
    """Quality against parameters of every candidate that was tried, and the budget.

    Args:
        report: with the curve.
        manifest: of the bundle.
        path: the SVG to write.
    """
    whole, scale = manifest.variants[0].parameters / 1e6, metric_format_of(manifest.metric)
    when = "after learning" if manifest.recipe.mode == "learn" else "before distillation"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        points = sorted(
            (point for point in report.curve if math.isfinite(point.loss)),
            key=lambda point: point.parameters,
        )
        places = [(point.parameters / 1e6, scale.factor * point.loss) for point in points]
        axes.plot(*zip(*places, (whole, 0.0), strict=True), color="#aab2c0", zorder=1)
        _scatter(axes, points, places)
        axes.scatter([whole], [0], color=ORIGINAL, marker="s", label="original", zorder=2)
        _budget(axes, manifest, whole)
        axes.set_xlabel("parameters (million)")
        is_estimate = kind_named(manifest.task).estimate_note is not None
        estimate = f"\nquick estimate, {when}" if is_estimate else ""
        axes.set_ylabel(f"{scale.axis}{estimate}")
        axes.set_xlim(left=0)
        axes.legend(frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _scatter(
    axes: Axes, points: Sequence[CurvePoint], places: Sequence[tuple[float, float]]
) -> None:
    """The candidates, and beside the chosen one what it keeps."""
    for within, label in ((True, "within the budget"), (False, "outside")):
        some = [
            place
            for place, point in zip(places, points, strict=True)
            if point.within_budget is within
        ]
        face = COMPRESSED if within else "white"
        if some:
            x, y = zip(*some, strict=True)
            axes.scatter(x, y, facecolors=face, edgecolors=COMPRESSED, label=label, zorder=2)
    for place, point in zip(places, points, strict=True):
        if point.chosen:
            ring: Any = {"s": 160, "facecolors": "none", "edgecolors": "black", "linewidths": 1.5}
            axes.scatter(*place, label="chosen", zorder=3, **ring)
            axes.annotate(
                f"{point.removed_share:.0%} removed",
                place,
                xytext=(10, 8),
                textcoords="offset points",
            )


def _budget(axes: Axes, manifest: Manifest, whole: float) -> None:
    """A line where the budget of quality or size ends."""
    budget, scale = manifest.recipe.budget, metric_format_of(manifest.metric)
    line: Any = {"color": ORIGINAL, "linestyle": ":", "linewidth": 1, "label": "the budget"}
    if budget.quality is not None:
        axes.axhline(scale.factor * budget.quality, zorder=0, **line)
    elif budget.size_ratio is not None:
        axes.axvline(whole * budget.size_ratio, zorder=0, **line)


def plot_variants(manifest: Manifest, path: Path) -> None:
    """Latency, file size and quality of each variant, against the original.

    Args:
        manifest: of the bundle.
        path: the SVG to write.
    """
    primary = manifest.variants[0].primary_latency
    run = run_label(manifest.task, primary.steps, primary.batch, primary.run)
    panels = [
        (
            f"{run}, median ms",
            [each.primary_latency.milliseconds for each in manifest.variants],
            [_time(each) for each in manifest.variants],
        ),
        (
            "file, MB",
            [each.size_bytes / 1e6 for each in manifest.variants],
            [_size(each, manifest.variants[0]) for each in manifest.variants],
        ),
    ]
    if manifest.provenance.not_evaluated is None:
        scale = metric_format_of(manifest.metric)
        values = [each.metrics[manifest.metric] for each in manifest.variants]
        changes = [f" ({scale.change(each.loss)})" for each in manifest.variants[1:]]
        texts = [
            f"{scale.value(value)}{change}"
            for value, change in zip(values, ["", *changes], strict=True)
        ]
        panels.append((scale.name, values, texts))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(panels), 2.6), layout="constrained")
        (all_axes,) = figure.subplots(1, len(panels), sharey=True, squeeze=False)
        for axes, (label, values, texts) in zip(all_axes, panels, strict=True):
            _bars(axes, manifest.variants, values, texts)
            axes.set_xlabel(label)
        all_axes[0].invert_yaxis()
        figure.savefig(path, format="svg", metadata={"Date": None})


def _bars(
    axes: Axes, variants: Sequence[VariantRecord], values: Sequence[float], texts: Sequence[str]
) -> None:
    names = [each.name for each in variants]
    bars = axes.barh(names, values, color=[_COLOURS[name] for name in names])
    axes.bar_label(bars, list(texts), padding=3, fontsize=8)
    # Room for the longest label beside the longest bar.
    room = max(1.6, 0.085 * max(len(line) for text in texts for line in text.split("\n")))
    axes.set_xlim(room * min(*values, 0.0), room * max(*values, 0.0) or 1.0)


def _time(variant: VariantRecord) -> str:
    found = variant.primary_latency
    text = f"{found.milliseconds:.{2 if found.milliseconds >= 1 else 3}f} ms"
    if variant.name == "original":
        return text
    whole, alone = found.over_original, found.over_int8
    if whole is None:
        return f"{text}, {NOT_STEADY}"
    beside = [] if alone is None or variant.name == "original-int8" else [(alone, "int8 alone")]
    ratios = [f"{ratio.median:.2f}x {rival}" for ratio, rival in (*beside, (whole, "the original"))]
    return "\n".join([f"{text}, as fast as:", ", ".join(ratios)])


def _size(variant: VariantRecord, original: VariantRecord) -> str:
    text = file_size(variant.size_bytes)
    if variant is original:
        return text
    ratio = original.size_bytes / variant.size_bytes
    return f"{text}, {ratio:.1f}x smaller" if ratio >= 1 else f"{text}, {1 / ratio:.1f}x larger"
