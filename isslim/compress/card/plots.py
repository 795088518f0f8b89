"""The card's plots as SVG: the trade-off curve, and quality and latency of every variant.

The same data give the same bytes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib.figure import Figure

from isslim.types.kinds.registry import kind_named
from isslim.types.manifest import Manifest
from isslim.types.quality import metric_format_of
from isslim.types.report import Report
from isslim.types.wording import describe_run

_COLOURS = {
    "original": "#4c566a",
    "original-int8": "#8892a6",
    "compressed": "#1f78b4",
    "compressed-int8": "#e66101",
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
    whole, budget, scale = (
        manifest.variants[0].parameters / 1e6,
        manifest.recipe.budget,
        metric_format_of(manifest.metric),
    )
    when = "after learning" if manifest.recipe.mode == "learn" else "before fine-tuning"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        points = sorted(
            (point for point in report.curve if math.isfinite(point.loss)),
            key=lambda point: point.parameters,
        )
        places = [(point.parameters / 1e6, scale.factor * point.loss) for point in points]
        axes.plot(*zip(*places, (whole, 0.0), strict=True), color="#8892a6", zorder=1)
        for within, label, colour in (
            (True, "within the budget", "#1f78b4"),
            (False, "outside", "#e66101"),
        ):
            some = [
                place
                for place, point in zip(places, points, strict=True)
                if point.within_budget is within
            ]
            if some:
                axes.scatter(*zip(*some, strict=True), color=colour, label=label, zorder=2)
        for place, point in zip(places, points, strict=True):
            if point.chosen:
                axes.scatter(
                    *place,
                    s=160,
                    facecolors="none",
                    edgecolors="black",
                    linewidths=1.5,
                    label="chosen",
                    zorder=3,
                )
        axes.scatter([whole], [0], color="#4c566a", marker="s", label="original", zorder=2)
        limit: Any = {
            "color": "#4c566a",
            "linestyle": ":",
            "linewidth": 1,
            "label": "the budget",
            "zorder": 0,
        }
        if budget.quality is not None:
            axes.axhline(scale.factor * budget.quality, **limit)
        elif budget.size_ratio is not None:
            axes.axvline(whole * budget.size_ratio, **limit)
        axes.set_xlabel("parameters (million)")
        is_estimate = kind_named(manifest.task).estimate_note is not None
        estimate = f"\nquick estimate, {when}" if is_estimate else ""
        axes.set_ylabel(f"{scale.axis}{estimate}")
        axes.set_xlim(left=0)
        axes.legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})


def plot_variants(manifest: Manifest, path: Path) -> None:
    """Median latency and quality, a bar pair per variant.

    Args:
        manifest: of the bundle.
        path: the SVG to write.
    """
    scale, timed = metric_format_of(manifest.metric), manifest.variants[0].primary_latency
    names = [variant.name for variant in manifest.variants]
    colours = [_COLOURS[name] for name in names]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        times = [variant.primary_latency.milliseconds for variant in manifest.variants]
        for axes, values, label, form in (
            (
                left,
                times,
                f"{describe_run(manifest.task, timed.steps, timed.batch, timed.run)}, median ms",
                "{:.2f}",
            ),
            (
                right,
                [variant.metrics[manifest.metric] for variant in manifest.variants],
                scale.name,
                "{:.4g}",
            ),
        ):
            bars = axes.barh(names, values, color=colours)
            axes.bar_label(bars, [form.format(value) for value in values], padding=3)
            axes.set_xlim(1.18 * min(*values, 0.0), 1.18 * max(*values, 0.0) or 1.0)
            axes.set_xlabel(label)
        left.invert_yaxis()
        figure.savefig(path, metadata={"Date": None})
