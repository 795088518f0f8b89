"""What closed-form pruning costs in perplexity, against zeroing and magnitude pruning.

    python -m benchmarks.calibrate --corpus ptb [--json] [--units 400] [--epochs 10]
        [--minutes 10] [--shares 0.25 0.5 0.7] [--tokens 20000] [--mult-adds 3.8 3.0]
        [--joint-seconds 30 600]

Writes a table, or one JSON object, to standard output; trained models are cached below `ISS_HOME`.

Trains (or loads the cached) dense model, removes a share of its LSTM units, and measures
perplexity on the validation text:

- `zero`: the units that ours removes, removed without repair;
- `magnitude`: the smallest group norms (layer by layer, the same share of each), removed without
  repair;
- `calibrated`: structured OBS and repair, on pieces spread over the training text;
- `self_calibrated`: the same, on text that the model wrote itself;
- `finetuned`: `calibrated`, then the distillation of a job for at most `--minutes`, as long as it
  pays (`--finetune-shares`);
- `finetuned_int8`: the same graph in int8, through ONNX Runtime;
- `joint`: units, ranks, blocks of the softmax and the embedding's width in one order, cut in closed
  form to `--mult-adds` times fewer multiply-adds (the first of them);
- `joint_30s`, `joint_10min`: the same at the last of `--mult-adds`, then at most `--joint-seconds`
  of that distillation.

All perplexities come from the quick estimate (ten streams with carried state) but the last, whose
int8 effect is the ratio of int8 to float32 through the runtime on one stream, applied to it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.baseline import RECIPE, Baseline, baseline
from benchmarks.joint_cut import joint_cut
from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.language.activations import collect_activations
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.finetuning import distillation, teaching_of
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, declare, from_arrays
from isslim.compress.kinds.language.texts import sample
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.pruning import axes
from isslim.compress.pruning.ranking import Pruned, RemovalPlan, prune, rank_components
from isslim.compress.statistics.pieces import Pieces, spread_pieces
from isslim.runtime.language.scoring import perplexity as runtime_perplexity
from isslim.runtime.language.session import LanguageSession
from isslim.types.axis_names import is_units

CALIBRATION_TOKENS = 20_000
INT8_TOKENS = 20_000

Row = dict[str, Any]


def main() -> None:
    """Parses the command line, runs, prints a table or one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", default="pydoc", help="ptb, gutenberg, pydoc or a folder")
    parser.add_argument("--units", type=int, default=400)
    parser.add_argument(
        "--epochs", type=float, default=RECIPE.epochs, help="of the dense model's training"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="length of each fine-tune")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.25, 0.5, 0.7])
    parser.add_argument(
        "--tokens",
        type=int,
        default=CALIBRATION_TOKENS,
        help="of calibration text, real and generated",
    )
    parser.add_argument("--finetune-shares", type=float, nargs="*", default=[0.5])
    parser.add_argument(
        "--mult-adds",
        type=float,
        nargs="*",
        default=[3.8, 3.0],
        help="how many times fewer in the joint cut: without training, and with it",
    )
    parser.add_argument(
        "--joint-seconds",
        type=float,
        nargs="*",
        default=[30.0, 600.0],
        help="of distillation after the joint cut",
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    dense = baseline(
        arguments.corpus, arguments.units, recipe=replace(RECIPE, epochs=arguments.epochs)
    )
    original = perplexity(dense.network, dense.valid)
    rows = closed_form(dense, arguments.shares, arguments.tokens)
    for share in arguments.finetune_shares:
        rows += finetuned(dense, share, arguments.minutes)
    if arguments.mult_adds:
        rows += joint(dense, arguments.mult_adds, arguments.joint_seconds, arguments.tokens)
    result = {
        "corpus": arguments.corpus,
        "units": list(dense.network.spec.units),
        "original_perplexity": original,
        "rows": rows,
    }
    if arguments.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    Console().print(table(result))


def table(result: dict[str, Any]) -> Table:
    """A row per method and size, with multiples of the original's perplexity."""
    original = result["original_perplexity"]
    shown = Table(title=f"{result['corpus']}, LSTM {result['units']}: perplexity {original:.2f}")
    for column in (
        "units removed",
        "multiply-adds",
        "method",
        "seconds of training",
        "perplexity",
        "times the original",
    ):
        shown.add_column(column, justify="right")
    for row in result["rows"]:
        shown.add_row(
            f"{row['removed_share']:.0%}",
            f"{row['mult_adds_ratio']:.2f}x fewer",
            row["method"],
            f"{row['training_seconds']:.0f}" if row["training_seconds"] else "",
            f"{row['perplexity']:.2f}",
            f"{row['perplexity'] / original:.3f}",
        )
    return shown


def closed_form(
    dense: Baseline, shares: list[float], tokens: int = CALIBRATION_TOKENS
) -> list[Row]:
    """The rows that need no training.

    Args:
        dense: the trained model and its texts.
        shares: of all LSTM units, what is removed.
        tokens: of calibration text.
    """
    network = dense.network
    real = _learned(network, spread_pieces(dense.train, tokens))
    own = _learned(network, sample(network, dense.words.index("<eos>"), tokens, seed=1))
    rows = []
    for share in shares:
        by_us, by_itself = _removed(real, share), _removed(own, share)
        magnitude = _take(network, _smallest(network, share))
        for method, arrays in (
            ("zero", _take(network, by_us.keep)),
            ("magnitude", magnitude),
            ("calibrated", by_us.arrays),
            ("self_calibrated", by_itself.arrays),
        ):
            small = from_arrays(arrays, tied=False)
            rows.append(_row(dense, small, method, perplexity(small, dense.valid)))
    return rows


def finetuned(dense: Baseline, share: float, minutes: float) -> list[Row]:
    """Distils the original into the pruned model, and quantizes the result.

    Args:
        dense: the trained model and its texts.
        share: of all LSTM units, what is removed.
        minutes: of distillation.
    """
    removal_plan = _learned(dense.network, spread_pieces(dense.train, CALIBRATION_TOKENS))
    tuned, seconds = _distilled(dense, _removed(removal_plan, share), minutes)
    found = perplexity(tuned, dense.valid)
    ids = dense.valid[:INT8_TOKENS].tolist()
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        export(tuned, plain)
        quantize(plain, small)
        start = dense.words.index("<eos>")
        ratio = runtime_perplexity(LanguageSession(small), ids, start) / runtime_perplexity(
            LanguageSession(plain), ids, start
        )
    return [
        _row(dense, tuned, "finetuned", found, seconds),
        _row(dense, tuned, "finetuned_int8", found * ratio, seconds),
    ]


def joint(
    dense: Baseline, ratios: Sequence[float], seconds: Sequence[float], tokens: int
) -> list[Row]:
    """The joint cut, without training and distilled for a while.

    Args:
        dense: the trained model and its texts.
        ratios: how many times fewer multiply-adds: the first without training, the last with it.
        seconds: of distillation, a row each.
        tokens: of calibration text.
    """
    small = dense.network.rebuilt(joint_cut(dense, ratios[0], tokens).arrays)
    rows = [_row(dense, small, "joint", perplexity(small, dense.valid))]
    if seconds:
        pruned = joint_cut(dense, ratios[-1], tokens)
        for length in seconds:
            tuned, took = _distilled(dense, pruned, length / 60)
            name = f"joint_{length / 60:g}min" if length >= 60 else f"joint_{length:g}s"
            rows.append(_row(dense, tuned, name, perplexity(tuned, dense.valid), took))
    return rows


def _distilled(dense: Baseline, pruned: Pruned, minutes: float) -> tuple[LanguageModel, float]:
    """What a job's distillation makes of a cut network, and the seconds that it trained."""
    student = dense.network.rebuilt(pruned.arrays)
    teaching = teaching_of(dense.network, dense.train, dense.test)
    # Stages are compared on the test text: the figures are those of the validation text.
    compared = spread_pieces(dense.test, CALIBRATION_TOKENS)
    repair = distillation(dense.network, dense.train, compared, teaching)
    with tempfile.TemporaryDirectory() as folder:
        tuned = repair.run(student, minutes, Path(folder), _show)
    return tuned.network, 60 * tuned.minutes


def _learned(network: LstmLanguageModel, tokens: torch.Tensor | Pieces) -> RemovalPlan:
    declaration = declare(network.spec)
    units = [axis for axis in declaration.axes if axis.startswith("units:")]
    return rank_components(
        network.arrays(),
        declaration,
        collect_activations(network, tokens),
        prunable=units,
        count="components",
    )


def _removed(removal_plan: RemovalPlan, share: float) -> Pruned:
    """Prunes a share of all LSTM units; the order of removal keeps one unit of every layer."""
    units = sum(
        size for axis, size in removal_plan.declaration.axes.items() if axis.startswith("units:")
    )
    return prune(removal_plan, (share * units + 0.5) / len(removal_plan.order))


def _take(network: LstmLanguageModel, keep: axes.Keep) -> axes.Arrays:
    return axes.select_components(network.arrays(), declare(network.spec), keep)[0]


def _smallest(network: LstmLanguageModel, share: float) -> axes.Keep:
    declaration, arrays = declare(network.spec), network.arrays()
    keep = {}
    for axis, size in declaration.axes.items():
        if axis.startswith("units:"):
            order = np.argsort(axes.group_squared_norms(arrays, declaration, axis))
            keep[axis] = np.sort(order[round(share * size) :])
    return keep


def _row(
    dense: Baseline, small: LanguageModel, method: str, found: float, seconds: float = 0.0
) -> Row:
    whole, left = dense.network.declaration(), small.declaration()
    before, after = (
        sum(size for axis, size in each.axes.items() if is_units(axis)) for each in (whole, left)
    )
    return {
        "method": method,
        "removed_share": 1 - after / before,
        "mult_adds_ratio": axes.mult_adds(whole) / axes.mult_adds(left),
        "perplexity": found,
        "training_seconds": round(seconds, 1),
    }


def _show(done: float, message: str) -> None:
    sys.stderr.write(f"\rfine-tuning: {100 * done:3.0f} %, {message}   ")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
