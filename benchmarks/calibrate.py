"""What closed-form pruning costs in perplexity, against zeroing and magnitude pruning.

    python -m benchmarks.calibrate --corpus ptb [--json] [--units 400] [--epochs 10]
        [--minutes 10] [--shares 0.25 0.5 0.7] [--tokens 20000]

Writes a table, or one JSON object, to standard output; trained models are cached below `ISS_HOME`.

Trains (or loads the cached) dense model, removes a share of its LSTM units, and measures
perplexity on the validation text:

- `zero`: the units that ours removes, removed without repair;
- `magnitude`: the smallest group norms (layer by layer, the same share of each), removed without
  repair;
- `calibrated`: structured OBS and repair, on pieces spread over the training text;
- `self_calibrated`: the same, on text that the model wrote itself;
- `finetuned`: `calibrated`, then `--minutes` of distillation (`--finetune-shares`);
- `finetuned_int8`: the same graph in int8, through ONNX Runtime.

All perplexities come from the quick estimate (ten streams with carried state) but the last, whose
int8 effect is the ratio of int8 to float32 through the runtime on one stream, applied to it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.baseline import RECIPE, Baseline, baseline
from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.language.activations import collect_activations
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, declare, from_arrays
from isslim.compress.kinds.language.texts import sample
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.kinds.language.training.plan import distilling, distilling_dropout
from isslim.compress.pruning import axes
from isslim.compress.pruning.ranking import Pruned, RemovalPlan, prune, rank_components
from isslim.compress.statistics.pieces import Pieces, spread_pieces
from isslim.runtime.language.scoring import perplexity as runtime_perplexity
from isslim.runtime.language.session import LanguageSession

CALIBRATION_TOKENS = 20_000
INT8_TOKENS = 20_000

Row = dict[str, float | str]


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
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 0.7])
    parser.add_argument(
        "--tokens",
        type=int,
        default=CALIBRATION_TOKENS,
        help="of calibration text, real and generated",
    )
    parser.add_argument("--finetune-shares", type=float, nargs="*", default=[0.5])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    dense = baseline(
        arguments.corpus, arguments.units, recipe=replace(RECIPE, epochs=arguments.epochs)
    )
    original = perplexity(dense.network, dense.valid)
    rows = closed_form(dense, arguments.shares, arguments.tokens)
    for share in arguments.finetune_shares:
        rows += finetuned(dense, share, arguments.minutes)
    result = {
        "corpus": arguments.corpus,
        "units": list(dense.network.spec.units),
        "original_perplexity": original,
        "rows": rows,
    }
    if arguments.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    sizes = list(dense.network.spec.units)
    table = Table(title=f"{arguments.corpus}, LSTM {sizes}: perplexity {original:.2f}")
    for column in ("units removed", "method", "perplexity", "times the original"):
        table.add_column(column, justify="right")
    for row in rows:
        value = float(row["perplexity"])
        table.add_row(
            f"{row['removed_share']:.0%}",
            str(row["method"]),
            f"{value:.2f}",
            f"{value / original:.3f}",
        )
    Console().print(table)


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
            found = perplexity(from_arrays(arrays, tied=False), dense.valid)
            rows.append(_row(share, method, found))
    return rows


def finetuned(dense: Baseline, share: float, minutes: float) -> list[Row]:
    """Distils the original into the pruned model, and quantizes the result.

    Args:
        dense: the trained model and its texts.
        share: of all LSTM units, what is removed.
        minutes: of distillation.
    """
    removal_plan = _learned(dense.network, spread_pieces(dense.train, CALIBRATION_TOKENS))
    pruned, tokens = _removed(removal_plan, share), len(dense.train)
    dropout = distilling_dropout(axes.parameters(pruned.declaration), tokens)
    student = from_arrays(pruned.arrays, tied=False, dropout=dropout)
    schedule = distilling(tokens, seed=1, minutes=minutes)
    tuned = train(student, dense.train, schedule, teacher=dense.network, progress=_show).network
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
    return [_row(share, "finetuned", found), _row(share, "finetuned_int8", found * ratio)]


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


def _row(share: float, method: str, found: float) -> Row:
    return {"removed_share": share, "method": method, "perplexity": found}


def _show(done: float, message: str) -> None:
    sys.stderr.write(f"\rfine-tuning: {100 * done:3.0f} %, {message}   ")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
