"""The figures of the paper's experiment, as PNG and SVG, drawn from its record alone.

    python -m benchmarks.paper.figures

draws those of docs/benchmarks.md from the kept record.

- curve: test perplexity against units left, a line for each start;
- norms: how many units have a group of which norm, before and after;
- sparsity: units removed, and validation perplexity, epoch by epoch.

The same record gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from isslim.compress.card.plots import STYLE

EDGES = np.geomspace(1e-4, 1e2, 37)
"""Of the bins of norms: six a decade, so that a dying group is told from a small one."""
KEPT = Path(__file__).parents[1] / "records" / "paper-small.json"
PICTURES, PREFIX = Path("docs") / "pictures", "paper-small-"
FIGURES = ("curve", "norms", "sparsity")
COLOURS = {
    "baseline": "#2e3440",
    "baseline trained on": "#8892a6",
    "random weights": "#1f78b4",
    "from the baseline": "#e66101",
}
_STYLE: Any = {**STYLE, "svg.fonttype": "none"}
_ZERO = 5e-5
"""Where exact zeros stand on the logarithmic axis."""
_LINES = ("-", "--", ":", "-.")


def main() -> None:
    """Draws the pictures of the documentation."""
    record = json.loads(KEPT.read_text())
    draw(record, PICTURES, ("svg",), PREFIX)


def histogram(norms: Sequence[float]) -> dict[str, Any]:
    """Counts of norms in the bins between `EDGES`; exact zeros are counted apart.

    Args:
        norms: of the groups of an axis; what lies outside the bins counts in the nearest.
    """
    values = np.asarray(norms, dtype=np.float64)
    inside = values[values > 0].clip(EDGES[0], np.nextafter(EDGES[-1], 0))
    counts, _ = np.histogram(inside, bins=EDGES)
    return {"zero": int((values == 0).sum()), "counts": counts.tolist()}


def draw(
    record: dict[str, Any],
    folder: Path,
    kinds: Sequence[str] = ("png", "svg"),
    prefix: str = "",
) -> None:
    """Writes all figures, of the runs that are finished.

    Args:
        record: see `benchmarks.paper.small`.
        folder: takes `curve.png` and so on.
        kinds: of files.
        prefix: of their names.
    """
    with mpl.rc_context(_STYLE):
        for name, drawn in (("curve", _curve), ("norms", _norms), ("sparsity", _sparsity)):
            for kind in kinds:
                stamp = {"Date": None} if kind == "svg" else {"Software": None}
                # A figure that was saved before has another layout, by a hair.
                drawn(record).savefig(folder / f"{prefix}{name}.{kind}", metadata=stamp, dpi=150)


def alternative_texts(record: dict[str, Any]) -> dict[str, str]:
    """What each figure shows, in words, for those who do not see it."""
    runs = finished(record)
    points = "; ".join(
        f"{label(run)} {sum(run['units'])} units, {run['test_perplexity']:.1f}" for run in runs
    )
    dead = "; ".join(f"{label(run)} {removed(run)} of {whole(run)}" for run in runs)
    return {
        "curve": f"Test perplexity against units left: {points}.",
        "norms": "Histograms of the norms of the units' groups after training, one panel a layer. "
        f"Units that count as removed: {dead}.",
        "sparsity": "Share of units removed (above) and validation perplexity (below) after each "
        f"epoch. At the end removed: {dead}.",
    }


def finished(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs that are done and did not diverge."""
    return [run for run in record["runs"] if run["finished"] and run["test_perplexity"] is not None]


def label(run: dict[str, Any]) -> str:
    """A run in a few words."""
    if run["strength"] is None:
        return "baseline trained on" if run["start"] == "baseline" else "baseline"
    return f"{kind(run)}, strength {run['strength']:g}"


def kind(run: dict[str, Any]) -> str:
    """The runs that differ from a run in their strength alone."""
    if run["strength"] is None:
        return label(run)
    return "from the baseline" if run["start"] == "baseline" else run["start"]


def control_of(record: dict[str, Any], run: dict[str, Any]) -> dict[str, Any] | None:
    """The run with the same start and length, and no penalty."""
    same = [each for each in finished(record) if each["start"] == run["start"]]
    return next((each for each in same if each["strength"] is None), None)


def whole(run: dict[str, Any]) -> int:
    """Units of a run's first epoch."""
    sizes: dict[str, int] = run["epochs"][0]["units"]
    return sum(sizes[axis] for axis in run["norms"])


def removed(run: dict[str, Any]) -> int:
    """Units that are gone at the end."""
    left: list[int] = run["units"]
    return whole(run) - sum(left)


def _colour(run: dict[str, Any]) -> str:
    return COLOURS[kind(run)]


def _line(record: dict[str, Any], run: dict[str, Any]) -> str:
    alike = [each["strength"] for each in record["runs"] if each["start"] == run["start"]]
    return "-" if run["strength"] is None else _LINES[(alike.index(run["strength"]) - 1) % 4]


def _curve(record: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for start in ("random weights", "baseline"):
        runs = [run for run in finished(record) if run["start"] == start]
        places = sorted((sum(run["units"]), run["test_perplexity"]) for run in runs)
        some = [run for run in runs if run["strength"] is not None]
        if some:
            look: Any = {"color": _colour(some[0]), "marker": "o", "label": f"ISS, {kind(some[0])}"}
            axes.plot(*zip(*places, strict=True), **look)
        for run in runs:
            place = (sum(run["units"]), run["test_perplexity"])
            if run["strength"] is None:
                axes.scatter(*place, color=_colour(run), s=50, zorder=3, label=label(run))
                continue
            note: Any = {"xytext": (5, 4), "textcoords": "offset points", "fontsize": 8}
            axes.annotate(f"{run['strength']:g}", place, **note)
    axes.set_xlim(left=0)
    axes.set_xlabel("units left, both layers")
    axes.set_ylabel("test perplexity (lower is better)")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _norms(record: dict[str, Any]) -> Figure:
    """The baseline and, of each start, the run of the largest strength."""
    runs = finished(record)
    chosen = [run for run in runs if label(run) == "baseline"]
    for start in ("random weights", "baseline"):
        some = [run for run in runs if run["strength"] is not None and run["start"] == start]
        chosen += sorted(some, key=lambda run: float(run["strength"]))[-1:]
    names = list(chosen[0]["norms"]) if chosen else []
    figure = Figure(figsize=(7.2, 1.2 + 2.0 * len(names)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(max(1, len(names)), 1))
    for panel, axis in zip(panels, names, strict=False):
        for run in chosen:
            found = run["norms"][axis]
            panel.stairs(
                found["counts"], EDGES, color=_colour(run), label=label(run), linewidth=1.5
            )
            if found["zero"]:
                panel.scatter([_ZERO], [found["zero"]], color=_colour(run), marker="v", zorder=3)
        panel.set_xscale("log")
        panel.set_xlim(_ZERO / 1.5, EDGES[-1])
        panel.set_ylim(bottom=0)
        panel.set_title(f"layer {axis.removeprefix('units:')}", fontsize=9, loc="left")
        panel.set_ylabel("units")
    if names:
        panels[0].legend(frameon=False, fontsize=8, loc="upper center")
        panels[-1].set_xlabel("norm of the unit's group (triangle: exactly zero)")
    return figure


def _sparsity(record: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    for run in finished(record):
        epochs = run["epochs"]
        places = [epoch["epoch"] for epoch in epochs]
        total = whole(run)
        gone = [
            1
            - sum(each["units"][axis] - each["removed"].get(axis, 0) for axis in run["norms"])
            / total
            for each in epochs
        ]
        look: Any = {"color": _colour(run), "linestyle": _line(record, run), "marker": "."}
        above.plot(places, [100 * share for share in gone], label=label(run), **look)
        below.plot(places, [each["valid_perplexity"] for each in epochs], **look)
    above.set_ylabel("units removed (%)")
    above.set_ylim(-2, 102)
    below.set_ylabel("validation perplexity")
    below.set_yscale("log")
    below.yaxis.set_major_formatter(ScalarFormatter())
    below.yaxis.set_minor_formatter(ScalarFormatter())
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.set_xlabel("epoch")
    if finished(record):
        above.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
