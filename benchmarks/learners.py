"""Which learner should be the default.

    python -m benchmarks.learners [--json] [--corpus pydoc] [--units 128] [--size 0.35] [--scratch]

Writes a table, or one JSON object, to standard output.

The cached dense LSTM of a corpus is compressed by learn mode to one size, by every learner for as
many epochs each, from the trained weights and (`--scratch`) from random ones, and compared by the
perplexity of the test text, which no learner has seen.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.baseline import RECIPE, Baseline, baseline, task_of
from isslim.compress.errors import BudgetNotMet
from isslim.compress.kinds.language.task import LanguageTask
from isslim.compress.kinds.language.trainer import LanguageTrainer
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.progress import Lines
from isslim.compress.pruning import axes
from isslim.compress.search.rounds import INITIAL_STEP, run_rounds
from isslim.types.recipe import Budget, Recipe

LEARNERS = tuple(INITIAL_STEP)
FROM_SCRATCH = ("proximal", "l0")
HELD_OUT_TOKENS = 20_000


def main() -> None:
    """Trains the dense model, lets every learner shrink it, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", default="pydoc", help="ptb, gutenberg, pydoc or a folder")
    parser.add_argument("--units", type=int, default=128, help="of each of two layers")
    parser.add_argument(
        "--dense-epochs", type=float, default=RECIPE.epochs, help="of the dense model's training"
    )
    parser.add_argument(
        "--size", type=float, default=0.35, help="share of the parameters that is left"
    )
    parser.add_argument("--epochs", type=float, default=2.0, help="of each learner")
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    parser.add_argument("--scratch", action="store_true", help="also from random weights")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    dense = baseline(
        arguments.corpus, arguments.units, recipe=replace(RECIPE, epochs=arguments.dense_epochs)
    )
    original = perplexity(dense.network, dense.test)
    ways = [(learner, "uploaded") for learner in arguments.learners]
    ways += [
        (learner, "scratch")
        for learner in FROM_SCRATCH
        if arguments.scratch and learner in arguments.learners
    ]
    rows = [
        train_with_learner(dense, learner, start, arguments.size, arguments.epochs)
        for learner, start in ways
    ]
    result = {
        "corpus": arguments.corpus,
        "units": list(dense.network.spec.units),
        "test_perplexity": original,
    }
    if arguments.json:
        sys.stdout.write(json.dumps({**result, "rows": rows}) + "\n")
        return
    description = f"{arguments.corpus}, LSTM {result['units']}, test perplexity {original:.2f}"
    table = Table(
        title=f"{description}: {arguments.epochs:g} epochs to {arguments.size:g} of the parameters"
    )
    for column in ("learner", "start", "sizes", "test perplexity", "times the original", "seconds"):
        table.add_column(column, justify="right")
    for row in rows:
        found = row["test_perplexity"]
        shown = ("refused", "") if found is None else (f"{found:.2f}", f"{found / original:.3f}")
        table.add_row(
            row["learner"],
            row["start"],
            ", ".join(map(str, row["sizes"])),
            *shown,
            f"{row['seconds']:.0f}",
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def train_with_learner(
    dense: Baseline, learner: str, start: str, size: float, epochs: float
) -> dict[str, Any]:
    """One learner's row.

    Args:
        dense: the trained model and its texts.
        learner: one of `LEARNERS`.
        start: `uploaded` (the trained weights) or `scratch` (random ones).
        size: the share of the parameters that is left.
        epochs: of training, all rounds together.

    Returns:
        `sizes` of the axes, `parameters`, `test_perplexity` (None: no such model was found)
        and `seconds`.
    """
    recipe = Recipe.model_validate(
        {
            "mode": "learn",
            "learner": learner,
            "start": start,
            "learn_epochs": epochs,
            "budget": Budget(size_ratio=size),
        }
    )
    task = task_of(replace(dense, valid=dense.valid[:HELD_OUT_TOKENS]), recipe, LanguageTask)
    trainer, began = LanguageTrainer(dense.network, task.texts, recipe), time.monotonic()
    row: dict[str, Any] = {"learner": learner, "start": start}
    with tempfile.TemporaryDirectory() as folder:
        try:
            network = run_rounds(task, trainer, Path(folder), Lines(_show)).network
        except BudgetNotMet:
            found: dict[str, Any] = {"sizes": [], "parameters": None, "test_perplexity": None}
        else:
            declaration = network.declaration()
            found = {
                "sizes": list(declaration.axes.values()),
                "parameters": axes.parameters(declaration),
                "test_perplexity": perplexity(network, dense.test),
            }
    return row | found | {"seconds": round(time.monotonic() - began, 1)}


def _show(done: float, message: str) -> None:
    sys.stderr.write(f"{done:5.0%} {message}\n")


if __name__ == "__main__":
    main()
