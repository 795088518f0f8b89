"""The card's plots as SVG: the trade-off curve, and quality against latency of every variant. Same data, same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib.figure import Figure

from store.manifest import Manifest, Report

_COLOURS = {
    "original": "#4c566a", "original-int8": "#8892a6", "compressed": "#1f78b4", "compressed-int8": "#e66101",
}  # fmt: skip
_STYLE: Any = {"svg.hashsalt": "isslim", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}


def plot_curve(report: Report, manifest: Manifest, path: Path) -> None:
    """Perplexity against parameters of every candidate that the search tried."""
    original = manifest.variants[0]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        points = sorted(report.curve, key=lambda point: point.parameters)
        axes.plot(
            [point.parameters / 1e6 for point in points],
            [100 * point.perplexity_rise for point in points],
            color="#8892a6",
            zorder=1,
        )
        for within, label, colour in ((True, "within the budget", "#1f78b4"), (False, "outside", "#e66101")):
            some = [point for point in points if point.within_budget is within]
            if some:
                axes.scatter(
                    [point.parameters / 1e6 for point in some],
                    [100 * point.perplexity_rise for point in some],
                    color=colour,
                    label=label,
                    zorder=2,
                )
        axes.scatter(
            [original.breakdown.parameters / 1e6], [0], color="#4c566a", marker="s", label="original", zorder=2
        )
        axes.set_xlabel("parameters (million)")
        axes.set_ylabel("rise of perplexity (%), before fine-tuning")
        axes.set_xlim(left=0)
        axes.legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})


def plot_variants(manifest: Manifest, path: Path) -> None:
    """Median latency of one sentence and perplexity, a bar pair per variant."""
    names = [variant.name for variant in manifest.variants]
    colours = [_COLOURS[name] for name in names]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.6, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        times = [variant.sentence.median_ms for variant in manifest.variants]
        for axes, values, label, form in (
            (left, times, "median latency, 30 steps x 1 (ms)", "{:.2f}"),
            (right, [variant.perplexity for variant in manifest.variants], "perplexity", "{:.1f}"),
        ):
            bars = axes.barh(names, values, color=colours)
            axes.bar_label(bars, [form.format(value) for value in values], padding=3)
            axes.set_xlim(0, 1.18 * max(values))
            axes.set_xlabel(label)
        left.invert_yaxis()
        figure.savefig(path, metadata={"Date": None})
