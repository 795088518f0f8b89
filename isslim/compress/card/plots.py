"""The card's plot of the candidates, as SVG: quality against parameters, and the budget.

Colours mean what they mean in the trade-off (`tradeoff.py`). A candidate outside the budget is an
empty circle. The same data give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isslim.compress.card.tradeoff import CARD, COMPRESSED, INK, ORIGINAL, describe
from isslim.compress.card.tradeoff import STYLE as STYLE
from isslim.types.kinds.registry import kind_named
from isslim.types.manifest import CurvePoint, Manifest
from isslim.types.quality import metric_format_of
from isslim.types.report import Report


def plot_curve(report: Report, manifest: Manifest, path: Path) -> None:
    """Quality against parameters of every candidate that was tried, and the budget.

    Args:
        report: with the curve.
        manifest: of the bundle.
        path: the SVG to write.
    """
    whole, scale = manifest.variants[0].parameters / 1e6, metric_format_of(manifest.metric)
    when = "after learning" if manifest.recipe.mode == "learn" else "before distillation"
    with mpl.rc_context(CARD):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        points = sorted(
            (point for point in report.curve if math.isfinite(point.loss)),
            key=lambda point: point.parameters,
        )
        places = [(point.parameters / 1e6, scale.factor * point.loss) for point in points]
        axes.plot(*zip(*places, (whole, 0.0), strict=True), color=INK, linewidth=1, zorder=1)
        _scatter(axes, points, places)
        axes.scatter([whole], [0], color=ORIGINAL, marker="s", label="original", zorder=2)
        _budget(axes, manifest, whole)
        axes.set_xlabel("parameters (million)")
        is_estimate = kind_named(manifest.task).estimate_note is not None
        estimate = f"\nquick estimate, {when}" if is_estimate else ""
        axes.set_ylabel(f"{scale.axis}{estimate}")
        axes.set_xlim(left=0)
        axes.legend(frameon=False)
        figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})
    describe(path, f"{manifest.name}: {scale.axis} against parameters", report.verdict)


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
        face = COMPRESSED if within else "none"
        if some:
            x, y = zip(*some, strict=True)
            axes.scatter(x, y, facecolors=face, edgecolors=COMPRESSED, label=label, zorder=2)
    for place, point in zip(places, points, strict=True):
        if point.chosen:
            ring: Any = {"s": 160, "facecolors": "none", "edgecolors": INK, "linewidths": 1.5}
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
