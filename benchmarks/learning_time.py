"""How much cheaper a training step becomes as units are removed.

    python -m benchmarks.learning_time [--json] [--units 650] [--steps 6]

Writes a table, or one JSON object, to standard output.

An LSTM language model of two layers, vocabulary 10,000, random weights and tokens, is trained with
the original as teacher, as in the rounds of learn mode: whole, and with a quarter, half and three
quarters of the units of every axis removed. The sizes are interleaved round by round; medians.
"""

from __future__ import annotations

import argparse
import json
import sys
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.pruning import axes
from isslim.compress.training.plan import TrainingPlan

VOCABULARY, BATCH, STEPS, ROUNDS = 10_000, 20, 35, 3
LEFT = (1.0, 0.75, 0.5, 0.25)
"""Shares of the units."""


def main() -> None:
    """Trains, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--units", type=int, default=650, help="of each layer, and the embedding's width"
    )
    parser.add_argument("--steps", type=int, default=6, help="of each round")
    arguments = parser.parse_args()
    rows = measured(arguments.units, arguments.steps)
    if arguments.json:
        sys.stdout.write(json.dumps({"rows": rows}) + "\n")
        return
    threads = torch.get_num_threads()
    table = Table(
        title=f"2 x {arguments.units} units, {BATCH} streams of {STEPS} steps, {threads} threads"
    )
    for column in ("units left", "embedding and units", "ms a step", "of the whole network's"):
        table.add_column(column, justify="right")
    for row in rows:
        sizes = ", ".join(map(str, row["sizes"]))
        table.add_row(f"{row['left']:.0%}", sizes, f"{row['step_ms']:.0f}", f"{row['share']:.2f}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def measured(units: int, steps: int) -> list[dict[str, Any]]:
    """Times training steps of the network at each size.

    Args:
        units: of each layer, and the embedding's width.
        steps: of each round.

    Returns:
        Per share of the units that is `left`: `sizes`, the median `step_ms`, and its `share` of the
        whole network's.
    """
    torch.manual_seed(1)
    network = LstmLanguageModel(LstmSpec(VOCABULARY, units, (units, units))).eval()
    declaration = network.declaration()
    smaller = {}
    for left in LEFT:
        keep = {axis: np.arange(round(left * size)) for axis, size in declaration.axes.items()}
        smaller[left] = network.rebuilt(
            axes.select_components(network.arrays(), declaration, keep)[0]
        )
    tokens = torch.randint(VOCABULARY, (BATCH * (steps * STEPS + 1),))
    plan = TrainingPlan(
        epochs=1, batch=BATCH, steps=STEPS, optimizer="adamw", learning_rate=1e-3, clip=1.0
    )
    took: dict[float, list[float]] = {left: [] for left in LEFT}
    for _ in range(ROUNDS):
        for left, each in smaller.items():
            (epoch,) = train(each, tokens, plan, teacher=network).epochs
            took[left].append(1000 * epoch.seconds / epoch.steps)
    whole = median(took[LEFT[0]])
    return [
        {
            "left": left,
            "sizes": list(each.declaration().axes.values()),
            "step_ms": round(median(took[left]), 2),
            "share": round(median(took[left]) / whole, 3),
        }
        for left, each in smaller.items()
    ]


if __name__ == "__main__":
    main()
