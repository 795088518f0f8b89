"""All records beside what the paper and its follow-ups report.

    python -m benchmarks.ptb.report [--json] [--plots FOLDER]

Writes a table, or one JSON object, to standard output, and with `--plots` two SVG files.

Records are those of runs made here, and for runs that were not repeated here those in
`benchmarks/records/ptb/`. Lines under the table compare the methods that reached the same size,
with the spread of their seeds.

With `--json` one object: `{"baseline": {"test_perplexity", "mult_adds"}, "rows": [{"method",
"seed", "units", "test_perplexity", "mult_adds", "length", "seconds", "record"}]}`; the baseline is
the record named by `--baseline`, null while there is none. A run that the clock or a smaller number
of epochs ended is marked.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.ptb.plots import plot_curves, plot_tradeoff
from benchmarks.ptb.published import PUBLISHED
from benchmarks.ptb.run import OUTPUT
from isslim.compress.commands.saving import training_length

RECORDS = Path(__file__).parents[1] / "records" / "ptb"


def main() -> None:
    """Reads the records and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--baseline",
        default="medium",
        help="name of the configuration that the others stand beside",
    )
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--plots", type=Path, help="a folder for tradeoff.svg and curves.svg")
    arguments = parser.parse_args()
    files = records(arguments.output, arguments.records)
    found = summary(files, arguments.baseline)
    if arguments.plots is not None:
        arguments.plots.mkdir(parents=True, exist_ok=True)
        plot_tradeoff(found, arguments.plots / "tradeoff.svg")
        plot_curves(files, arguments.plots / "curves.svg")
    if arguments.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table(found))
    for line in verdicts(found):
        console.print(line)


def records(output: Path, kept: Path) -> list[Path]:
    """The record of every run: of this machine where there is one, else the kept one.

    Args:
        output: the folder of the runs made here.
        kept: the folder of kept records.
    """
    made = {path.parent.name: path for path in output.glob("*/record.json")}
    named = {path.stem: path for path in kept.glob("*.json")} | made
    return [named[name] for name in sorted(named)]


def summary(files: list[Path], baseline: str) -> dict[str, Any]:
    """Every record as a row, and the baseline's figures.

    Args:
        files: the records.
        baseline: the name of the configuration that the others are compared with.
    """
    rows = []
    for path in files:
        record = json.loads(path.read_text())
        chosen = ("name", "method", "seed", "units", "test_perplexity", "mult_adds")
        length, seconds = length_of(record)
        rows.append(
            {key: record[key] for key in chosen}
            | {"length": length, "seconds": seconds, "record": str(path)}
        )
    base = next((row for row in rows if row["name"] == baseline), None)
    figures = None if base is None else {key: base[key] for key in ("test_perplexity", "mult_adds")}
    return {"baseline": figures, "rows": rows}


def length_of(record: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """How long a run was, and the seconds of its training.

    A record that does not say so is of before records did; its longest epoch was a whole one.
    """
    seconds = sum(epoch["seconds"] for epoch in record["epochs"])
    if "length" in record:
        return record["length"], seconds
    steps = [epoch["steps"] for epoch in record["epochs"]]
    asked = record["config"]["plan"]["epochs"]
    return training_length(record["plan"], sum(steps), max(steps, default=1), asked), seconds


def table(found: dict[str, Any]) -> Table:
    """Measured rows first, then the published ones."""
    shown = Table(
        title="Penn Treebank, word level; multiply-adds of recurrent layers and softmax, per token"
    )
    for column in (
        "what",
        "units",
        "test perplexity",
        "multiply-adds",
        "of the baseline's",
        "epochs",
        "minutes",
        "where",
    ):
        shown.add_column(column, justify="left" if column in ("what", "where") else "right")
    base = found["baseline"]
    for row in found["rows"]:
        share = "" if base is None else f"1 / {base['mult_adds'] / row['mult_adds']:.2f}"
        units = ", ".join(map(str, row["units"]))
        what = f"{row['name']} ({row['method']}, seed {row['seed']})"
        perplexity = (
            "diverged" if row["test_perplexity"] is None else f"{row['test_perplexity']:.2f}"
        )
        length = row["length"]
        shown.add_row(
            what,
            units,
            perplexity,
            f"{row['mult_adds']:,}",
            share,
            f"{length['epochs']:.3g}",
            f"{row['seconds'] / 60:.1f}",
            "measured" if length["truncated"] is None else f"measured, {length['truncated']}",
        )
    shown.add_section()
    for each in PUBLISHED:
        units = ", ".join(map(str, each.units))
        quality, work = f"{each.test_perplexity:.2f}", f"{each.mult_adds:,}"
        shown.add_row(each.name, units, quality, work, "", "", "", each.source)
    return shown


def verdicts(found: dict[str, Any]) -> list[str]:
    """Per size that several configurations have: their mean perplexities, and which one wins.

    Args:
        found: what `summary` returns; runs that were cut short are marked.
    """
    sizes: dict[tuple[tuple[int, ...], int], dict[str, list[float]]] = {}
    for row in found["rows"]:
        if row["test_perplexity"] is not None:
            runs = sizes.setdefault((tuple(row["units"]), row["mult_adds"]), {})
            runs.setdefault(row["name"], []).append(row["test_perplexity"])
    short = {row["name"] for row in found["rows"] if row["length"]["truncated"] is not None}
    lines = []
    for (units, work), runs in sizes.items():
        if len(runs) > 1:
            ranked = sorted(runs, key=lambda name: mean(runs[name]))
            description = ", ".join(
                f"{name} {_describe(runs[name])}" + (" (cut short)" if name in short else "")
                for name in ranked
            )
            best, second = ranked[:2]
            spread = max(max(each) - min(each) for each in runs.values())
            clear = mean(runs[second]) - mean(runs[best]) > spread
            verdict = (
                f"{best} wins"
                if clear
                else f"{best} and {second} are within the spread of the seeds"
            )
            size = f"Units {', '.join(map(str, units))}, {work:,} multiply-adds"
            lines.append(f"{size}: {description}: {verdict}.")
    return lines


def _describe(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{mean(values):.2f} ({len(values)} seeds, {min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
