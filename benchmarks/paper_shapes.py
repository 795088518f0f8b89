"""Latency at the paper's shapes through our own exporter and runtime.

    python -m benchmarks.paper_shapes [--json] [--rounds N] [--device cuda]

Writes a table, or one JSON object, to standard output.

Vocabulary 10,000, embedding 1500, LSTMs of (1500, 1500), random weights, against two compressed
networks: of the paper's sizes, (373, 315), and of our own, which also have a narrower embedding, a
narrow layer between the two LSTMs, and a softmax in three blocks by frequency. Nothing was trained
at our own sizes: they say what such a network takes, not what it knows.

All variants are interleaved round by round; medians. One thread, and all threads of the machine;
or, with `--device cuda`, on a GPU, where ONNX Runtime still runs the int8 operators on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.runtime.language.latency import compare
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.opening import devices

ORIGINAL = LstmSpec(10_000, 1500, (1500, 1500))
COMPRESSED = {
    "paper": LstmSpec(10_000, 1500, (373, 315)),
    "own": LstmSpec(
        10_000,
        365,
        (373, 315),
        input_ranks=(0, 200),
        blocks=(476, 1905, 7619),
        block_ranks=(0, 200, 80),
    ),
}
"""The paper's sizes: 6.81 million multiply-adds. Our own, 3.05 million: 365 is the embedding of SSE
(arXiv 1803.00184, table 4); the blocks are those that a job chooses for 10,000 words, and the ranks
keep somewhat larger shares of the widths than a job keeps of 2 x 400 units at 3.8 times fewer
multiply-adds."""
SHAPES: tuple[tuple[int, int], ...] = ((30, 10), (30, 1), (1, 1))
LARGE = ((30, 64), (30, 256))
"""What a GPU is for; shapes of `--device cuda` alone."""
NAMES = ("original", "original_int8", "compressed", "compressed_int8")

Row = dict[str, float | str]


def main() -> None:
    """Builds the graphs in a temporary folder, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--rounds",
        type=int,
        help="rounds of each comparison; as many as fit a few seconds otherwise",
    )
    parser.add_argument("--device", choices=devices(), default="cpu", help="where the graphs run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = build(Path(folder))
        cores, shapes = {1, os.cpu_count() or 1}, SHAPES
        if arguments.device != "cpu":
            cores, shapes = {1}, SHAPES + LARGE
        rows = [
            row
            for threads in sorted(cores)
            for steps, batch in shapes
            for row in measure(paths, steps, batch, threads, arguments.rounds, arguments.device)
        ]
    if arguments.json:
        sys.stdout.write(json.dumps({"rows": rows}) + "\n")
        return
    table = Table(
        title="median ms; in brackets how many times as fast as the original, and as original-int8"
    )
    for column in ("steps x batch", "threads", "sizes", *NAMES):
        table.add_column(column, justify="right")
    for row in rows:
        took = {name: float(row[f"{name}_ms"]) for name in NAMES}
        cells = [
            f"{ms:.2f} ({took['original'] / ms:.1f}x, {took['original_int8'] / ms:.1f}x)"
            for ms in took.values()
        ]
        table.add_row(
            f"{row['steps']} x {row['batch']}", f"{row['threads']}", str(row["sizes"]), *cells
        )
    Console(width=None if sys.stdout.isatty() else 130).print(table)


def build(folder: Path) -> dict[str, Path]:
    """Writes the graphs: the original and each compressed network, in float32 and int8."""
    paths = {}
    for name, spec in {"original": ORIGINAL, **COMPRESSED}.items():
        paths[name], paths[f"{name}_int8"] = folder / f"{name}.onnx", folder / f"{name}-int8.onnx"
        network = LstmLanguageModel(spec)
        network.initialise(0.04, torch.Generator().manual_seed(0))
        export(network, paths[name])
        quantize(paths[name], paths[f"{name}_int8"])
    return paths


def measure(
    paths: dict[str, Path], steps: int, batch: int, threads: int, rounds: int | None, device: str
) -> list[Row]:
    """A row for each of `COMPRESSED`: medians of its variants and the original's at one shape.

    Args:
        paths: the graphs by variant.
        steps: T, tokens of a sequence.
        batch: B, sequences of a run.
        threads: of ONNX Runtime.
        rounds: of the comparison; None: as many as fit a few seconds.
        device: where the graphs run.
    """
    sessions = {
        name: LanguageSession(path, threads=threads, device=device) for name, path in paths.items()
    }
    timed = compare(sessions, steps=steps, batch=batch, pairs=rounds)
    rows: list[Row] = []
    for sizes in COMPRESSED:
        row: Row = {"sizes": sizes, "steps": steps, "batch": batch, "threads": threads}
        for name in NAMES:
            row[f"{name}_ms"] = timed[name.replace("compressed", sizes)].milliseconds
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
