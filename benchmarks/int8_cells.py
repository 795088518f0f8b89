"""Recurrent cells as int8 Scans against their float32 form: GRU, RHN, LSTM with a recurrent rank.

    python -m benchmarks.int8_cells [--json] [--cells NAME ...] [--rounds N]

Writes a table, or one JSON object, to standard output.

Each cell is the one layer of a language model of `VOCABULARY` tokens with random weights, so that
nearly all of a run is the layer. Both graphs are run in turn by the runtime, on one thread; ratios
are float32 / int8, medians of the rounds with their 95 % intervals. `chosen`: whether the int8 Scan
is taken at this shape, as `isslim.compress.measurement.scans` decides: of a GRU instead of
ONNX Runtime's float32 operator; of an LSTM with a rank instead of the int8 operator, whose
recurrent matrix is the product of the two narrow ones (`multiplied_out_ms`); of an RHN always.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from isslim.compress.export.int8_forms import Form
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.export.int8 import quantize_network
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec
from isslim.compress.measurement.scans import ROUNDS, scan_pays
from isslim.runtime.language.latency import compare
from isslim.runtime.language.session import LanguageSession

VOCABULARY, DEPTH = 16, 5
STEPS = (1, 30, 100)


@dataclass(frozen=True)
class Cell:
    """One cell that is timed.

    Attributes:
        cell: `gru`, `rhn` (of `DEPTH` highway layers) or `lstm`.
        input: width of what it reads.
        units: of its state.
        rank: of its recurrence; 0: it has no narrow one.
    """

    cell: str
    input: int
    units: int
    rank: int = 0

    def network(self) -> LanguageModel:
        """A language model of this one layer, with random weights."""
        made: LanguageModel
        if self.cell == "rhn":
            made = RhnLanguageModel(RhnSpec(VOCABULARY, self.input, self.units, DEPTH))
        elif self.cell == "gru":
            made = GruLanguageModel(GruSpec(VOCABULARY, self.input, (self.units,)))
        else:
            spec = LstmSpec(VOCABULARY, self.input, (self.units,), recurrent_ranks=(self.rank,))
            made = LstmLanguageModel(spec)
        made.initialise(0.05, torch.Generator().manual_seed(0))
        return made.eval()


CELLS = (
    *(Cell("gru", width, units) for width, units in (
        (128, 128), (256, 256), (229, 353), (400, 400), (650, 650), (1024, 1024), (1500, 1500),
    )),
    *(Cell("rhn", units, units) for units in (128, 400, 830, 1500)),
    *(Cell("lstm", *sizes) for sizes in (
        (128, 128, 32), (256, 256, 64), (100, 400, 100), (160, 650, 160), (200, 1500, 200),
    )),
)  # fmt: skip


def main() -> None:
    """Times every cell, prints a table or one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = sorted({each.cell for each in CELLS})
    parser.add_argument("--cells", nargs="+", choices=kinds, default=kinds, help="default: all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each comparison")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    wanted = [each for each in CELLS if each.cell in arguments.cells]
    rows = [row for each in wanted for row in rows_of(each, arguments.rounds)]
    if arguments.json:
        sys.stdout.write(json.dumps({"rows": rows}) + "\n")
        return
    table = Table(title="ms; how many times as fast int8 is, with its 95 % interval")
    sizes = ("cell", "input", "units", "rank", "steps")
    for column in (*sizes, "float32", "int8", "ratio", "chosen", "multiplied out"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            *(str(row[name] or "-") for name in sizes),
            f"{row['float32_ms']:.3f}",
            f"{row['int8_ms']:.3f}",
            f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})",
            "yes" if row["chosen"] else "no",
            f"{row['multiplied_out_ms']:.3f}" if row["rank"] else "-",
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def rows_of(cell: Cell, rounds: int) -> Iterator[dict[str, Any]]:
    """The figures of a cell, one row for each number of steps.

    Args:
        cell: the cell.
        rounds: of each comparison.
    """
    with tempfile.TemporaryDirectory() as folder:
        network, paths = cell.network(), [Path(folder) / f"{number}.onnx" for number in range(3)]
        export(network, paths[0])
        taken = quantize_network(network, paths[0], paths[1], Form(scans=True))
        sessions = {"original": LanguageSession(paths[0]), "int8": LanguageSession(paths[1])}
        both = sessions
        if cell.rank:
            quantize_network(network, paths[0], paths[2], Form())
            both = sessions | {"original": LanguageSession(paths[2])}
        for steps in STEPS:
            found = compare(sessions, steps=steps, batch=1, pairs=rounds)
            chosen = compare(both, steps=steps, batch=1, pairs=rounds) if cell.rank else found
            yield {
                "cell": cell.cell,
                "input": cell.input,
                "units": cell.units,
                "rank": cell.rank or None,
                "steps": steps,
                "float32_ms": found["original"].milliseconds,
                "int8_ms": found["int8"].milliseconds,
                "ratio": found["int8"].speedup,
                "ratio_low": found["int8"].speedup_low,
                "ratio_high": found["int8"].speedup_high,
                "chosen": not taken.scans or scan_pays(chosen["int8"]),
                "multiplied_out_ms": chosen["original"].milliseconds if cell.rank else None,
            }


if __name__ == "__main__":
    main()
