"""The records as SVG: perplexity against work beside published points, and training curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.ptb.published import PUBLISHED
from isslim.compress.card.plots import STYLE

_STYLE: Any = {**STYLE, "svg.fonttype": "none"}
_TICKS = (2, 3, 5, 10, 20, 50)
MAX_PERPLEXITY = 200.0
"""Above it a curve is cut off: the first epochs from scratch would flatten all others."""


def plot_tradeoff(found: dict[str, Any], path: Path) -> None:
    """Test perplexity against multiply-adds per token, one point per record that did not diverge.

    Args:
        found: what `report.summary` returns.
        path: of the SVG.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.subplots()
        rows = [row for row in found["rows"] if row["test_perplexity"] is not None]
        for name in dict.fromkeys(row["name"] for row in rows):
            places = [
                (row["mult_adds"] / 1e6, row["test_perplexity"])
                for row in rows
                if row["name"] == name
            ]
            axes.scatter(*zip(*places, strict=True), label=name, zorder=2)
        published = [(each.mult_adds / 1e6, each.test_perplexity) for each in PUBLISHED]
        axes.scatter(
            *zip(*published, strict=True), color="#8892a6", marker="x", label="published", zorder=1
        )
        for each, (work, perplexity) in zip(PUBLISHED, published, strict=True):
            axes.annotate(
                each.name,
                (work, perplexity),
                fontsize=7,
                color="#4c566a",
                xytext=(4, 3),
                textcoords="offset points",
            )
        if found["baseline"] is not None:
            axes.axhline(
                found["baseline"]["test_perplexity"],
                color="#4c566a",
                linestyle=":",
                linewidth=1,
                zorder=0,
            )
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(_TICKS, labels=map(str, _TICKS))
        axes.set_xlabel("multiply-adds per token (million)")
        axes.set_ylabel("test perplexity")
        axes.legend(frameon=False, fontsize=8)
        figure.savefig(path, metadata={"Date": None})


def plot_curves(files: list[Path], path: Path) -> None:
    """Validation perplexity and units left, epoch by epoch, a line per record.

    Args:
        files: the records.
        path: of the SVG.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 5.6), layout="constrained")
        quality, left = figure.subplots(2, sharex=True, height_ratios=(2, 1))
        for file in files:
            record = json.loads(file.read_text())
            epochs = [epoch for epoch in record["epochs"] if epoch["valid_perplexity"] is not None]
            shown = [epoch for epoch in epochs if epoch["valid_perplexity"] <= MAX_PERPLEXITY]
            label = f"{record['name']}, seed {record['seed']}"
            places = [epoch["epoch"] for epoch in shown]
            quality.plot(places, [epoch["valid_perplexity"] for epoch in shown], label=label)
            units = [
                sum(n for axis, n in each["units"].items() if axis.startswith("units:"))
                for each in shown
            ]
            left.plot(places, units)
        quality.set_ylabel("validation perplexity")
        quality.legend(frameon=False, fontsize=8)
        left.set_ylabel("recurrent units")
        left.set_ylim(bottom=0)
        left.set_xlabel("epoch")
        figure.savefig(path, metadata={"Date": None})
