"""The picture of the README: test perplexity against work per token, from the kept records.

    python -m benchmarks.ptb.picture [--out docs/pictures/penn-treebank.svg]

Reads `benchmarks/records/ptb/` and writes one SVG; the same records give the same bytes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.ptb.report import RECORDS
from isslim.compress.card.plots import STYLE

OUT = Path("docs") / "pictures" / "penn-treebank.svg"
ORIGINAL = "medium"
CUTS = ("medium-cut-milder", "medium-cut", "medium-cut-bolder")
CONTROL = "medium-untaught"
_STYLE: Any = {**STYLE, "svg.fonttype": "none"}
_INK, _GREY = "#2e3440", "#8892a6"
_NOTE: Any = {"textcoords": "offset points", "fontsize": 8, "color": _INK}


def main() -> None:
    """Parses the command line and draws."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    plot(arguments.records, arguments.out)


def point(records: Path, name: str) -> tuple[float, float]:
    """A configuration's million multiply-adds per token, and its mean test perplexity over seeds.

    Args:
        records: the folder of kept records.
        name: of the configuration.
    """
    runs = [json.loads(path.read_text()) for path in sorted(records.glob("*.json"))]
    seeds = [run for run in runs if run["name"] == name]
    return seeds[0]["mult_adds"] / 1e6, mean(run["test_perplexity"] for run in seeds)


def plot(records: Path, path: Path) -> None:
    """Draws the original, the compressed networks, and the control without a teacher.

    Args:
        records: the folder of kept records.
        path: of the SVG.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        axes = figure.subplots()
        work, quality = point(records, ORIGINAL)
        axes.axhline(quality, color=_GREY, linestyle=":", linewidth=1, zorder=0)
        axes.scatter([work], [quality], s=60, color=_INK, label="original, 2 x 650 units")
        axes.annotate(f"{quality:.2f}", (work, quality), (0, 8), ha="right", **_NOTE)
        small = [point(records, name) for name in CUTS]
        axes.plot(*zip(*small, strict=True), marker="o", label="compressed")
        for each, lost in small:
            text = f"{lost:.2f}, {work / each:.1f}x less work"
            axes.annotate(text, (each, lost), (8, -3), **_NOTE)
        control = point(records, CONTROL)
        label = "the same cut, trained without a teacher"
        axes.scatter([control[0]], [control[1]], marker="x", color=_GREY, label=label)
        axes.annotate(f"{control[1]:.2f}", control, (8, -3), **_NOTE)
        axes.set_xlim(0, work * 1.04)
        axes.set_ylim(80, 88)
        axes.set_xlabel("million multiply-adds per token")
        axes.set_ylabel("test perplexity (lower is better)")
        axes.legend(frameon=False, fontsize=8, loc="upper right")
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
