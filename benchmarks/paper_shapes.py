"""Latency at the paper's shapes through our own exporter and runtime.

    python -m benchmarks.paper_shapes [--json] [--rounds N] [--device cuda]

Writes a table, or one JSON object, to standard output.

Vocabulary 10,000, embedding 1500, LSTMs of (1500, 1500) and of the paper's compressed (373, 315),
random weights. The four variants are interleaved round by round; medians. One thread, and all
threads of the machine; or, with `--device cuda`, on a GPU, where ONNX Runtime still runs
the int8 operators on the CPU.
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

SPECS = {
    "original": LstmSpec(10_000, 1500, (1500, 1500)),
    "compressed": LstmSpec(10_000, 1500, (373, 315)),
}
SHAPES: tuple[tuple[int, int], ...] = ((30, 10), (30, 1), (1, 1))
LARGE = ((30, 64), (30, 256))
"""What a GPU is for; shapes of `--device cuda` alone."""
NAMES = ("original", "original_int8", "compressed", "compressed_int8")


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
            measure(paths, steps, batch, threads, arguments.rounds, arguments.device)
            for threads in sorted(cores)
            for steps, batch in shapes
        ]
    if arguments.json:
        sys.stdout.write(json.dumps({"rows": rows}) + "\n")
        return
    table = Table(
        title="median ms; in brackets how many times as fast as the original, and as original-int8"
    )
    for column in ("steps x batch", "threads", *NAMES):
        table.add_column(column, justify="right")
    for row in rows:
        cells = [
            f"{row[f'{name}_ms']:.2f} ({row['original_ms'] / row[f'{name}_ms']:.1f}x, "
            f"{row['original_int8_ms'] / row[f'{name}_ms']:.1f}x)"
            for name in NAMES
        ]
        table.add_row(f"{row['steps']:.0f} x {row['batch']:.0f}", f"{row['threads']:.0f}", *cells)
    Console(width=None if sys.stdout.isatty() else 130).print(table)


def build(folder: Path) -> dict[str, Path]:
    """Writes the four graphs."""
    torch.manual_seed(0)
    paths = {}
    for name, spec in SPECS.items():
        paths[name], paths[f"{name}_int8"] = folder / f"{name}.onnx", folder / f"{name}-int8.onnx"
        network = LstmLanguageModel(spec)
        network.initialise(0.04, torch.Generator().manual_seed(0))
        export(network, paths[name])
        quantize(paths[name], paths[f"{name}_int8"])
    return paths


def measure(
    paths: dict[str, Path], steps: int, batch: int, threads: int, rounds: int | None, device: str
) -> dict[str, float]:
    """One row: medians of the four variants at one shape.

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
    row: dict[str, float] = {"steps": steps, "batch": batch, "threads": threads}
    return row | {f"{name}_ms": timed[name].milliseconds for name in NAMES}


if __name__ == "__main__":
    main()
