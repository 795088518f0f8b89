"""Cuts a trained language model in closed form, by a criterion of your choice.

    python -m isslim.compress cut FOLDER --corpus ptb --share 0.4 --out SMALLER

FOLDER is that of a `train`; SMALLER gets the same files, and `train ... --start SMALLER` trains on.
What is removed is repaired from the activations on the training text, as in `isslim compress`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from isslim.compress.commands import plugins
from isslim.compress.commands.corpus_loading import declare_corpus, read_corpus
from isslim.compress.commands.saving import save_record
from isslim.compress.kinds.language.activations import collect_activations
from isslim.compress.kinds.language.folder import WORDS, read_trained, save_model
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import NarrowPlace
from isslim.compress.pruning.narrow import may_narrow_softmax
from isslim.compress.pruning.ranking import (
    Pruned,
    RemovalPlan,
    kept_indices,
    outline,
    prune,
    rank_components,
)
from isslim.compress.pruning.selection import Criterion, removal_order
from isslim.compress.search.narrowing import narrow_softmax
from isslim.types.axis_names import is_units

OBSERVED = 200_000
"""Tokens of the training text that activations are collected on."""
HALVINGS = 20
Count = Literal["parameters", "mult_adds"]
Parts = Literal["units", "widths", "ranks"]
"""What may shrink: recurrent units; those and the widths of embedding and softmax; all of that and
the ranks of what recurrent layers read."""


def declare(commands: Any) -> None:
    """Adds the command to a parser's commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "cut",
        help="cut a trained language model in closed form",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="of a trained model")
    declare_corpus(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for model and record")
    parser.add_argument("--share", type=float, required=True, help="that is left, 0 to 1")
    parser.add_argument(
        "--count", choices=("parameters", "mult_adds"), default="parameters", help="of what"
    )
    parser.add_argument(
        "--criterion",
        default="optimal_brain_surgeon",
        help=f"{', '.join(plugins.CRITERIA)}, or your own as package.module:function",
    )
    parser.add_argument(
        "--units-only",
        action="store_true",
        help="only units go, as in the paper: embedding and softmax keep their widths, and no "
        "narrow layers are inserted",
    )
    parser.add_argument(
        "--no-ranks",
        action="store_true",
        help="no narrow layers are inserted before or in recurrent layers",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Cuts, scores both models, writes model and record; returns the exit status.

    Raises:
        PluginUnusable: when the criterion is none.
        ValueError: when the share is none, or cannot be reached.
    """
    if not 0 < arguments.share < 1:
        raise ValueError(f"--share {arguments.share:g}: a share between 0 and 1 is expected")
    criterion = plugins.criterion_named(arguments.criterion)
    whole = read_trained(arguments.folder)
    corpus = read_corpus(
        arguments.corpus, arguments.vocabulary, arguments.folder / WORDS, arguments.tokens
    )
    began = time.monotonic()
    pruned = cut_network(
        whole,
        corpus.train,
        arguments.share,
        arguments.count,
        criterion=criterion,
        parts=_parts(arguments),
    )
    small = whole.rebuilt(pruned.arrays)
    seconds = time.monotonic() - began
    counted = {name: _size(name, small.declaration()) for name in ("parameters", "mult_adds")}
    if counted[arguments.count] > arguments.share * _size(arguments.count, whole.declaration()):
        raise ValueError(
            f"--share {arguments.share:g}: with all that may go gone, "
            f"{counted[arguments.count]:,} {arguments.count} are left"
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_model(arguments.out, small, corpus.words)
    found = {
        f"{part}_perplexity{name}": perplexity(network, getattr(corpus, part), streams)
        for name, network in (("", small), ("_before", whole))
        for part, streams in (("valid", 10), ("test", 1))
    }
    options = {
        name: value for name, value in vars(arguments).items() if name not in {"run", "command"}
    }
    sizes = small.declaration().axes
    record = {
        "command": "cut",
        "options": options,
        "tokens": {part: len(getattr(corpus, part)) for part in ("train", "valid", "test")},
        "sizes": dict(sizes),
        "units": [size for axis, size in sizes.items() if is_units(axis)],
        **counted,
        **found,
        "seconds": round(seconds, 1),
    }
    save_record(arguments.out, record)
    sys.stdout.write(
        f"units {record['units']}, {counted['parameters']:,} parameters, valid perplexity "
        f"{found['valid_perplexity_before']:.2f} -> {found['valid_perplexity']:.2f}, test "
        f"{found['test_perplexity_before']:.2f} -> {found['test_perplexity']:.2f}\n"
    )
    return 0


def cut_network(
    whole: LanguageModel,
    training: Tensor,
    share: float,
    count: Count,
    *,
    criterion: Criterion = removal_order,
    parts: Parts = "ranks",
) -> Pruned:
    """The mildest cut that leaves at most a share of a network.

    Args:
        whole: the network; it is left as it is.
        training: int64 (N,), the text that calibrates; its first `OBSERVED` tokens.
        share: of the parameters or multiply-adds that is left.
        count: which of them.
        criterion: orders the components of an axis.
        parts: what may shrink.
    """
    declaration = whole.declaration()
    observed = collect_activations(whole, training[:OBSERVED])
    places: list[NarrowPlace] = list(whole.narrow_places()) if parts == "ranks" else []
    blocks: tuple[int, ...] = ()
    if parts != "units" and may_narrow_softmax(declaration):
        bottleneck, blocks = narrow_softmax(whole, observed)
        places += bottleneck
    removal_plan = rank_components(
        whole.arrays(),
        declaration,
        observed,
        prunable=[axis for axis in declaration.axes if is_units(axis) or parts != "units"],
        rotate_axes=parts != "units",
        narrow=places,
        blocks=blocks,
        count=count,
        criterion=criterion,
    )
    most = share * _size(count, declaration)
    mild, bold = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (mild + bold) / 2
        fits = _left(removal_plan, middle, count) <= most
        mild, bold = (mild, middle) if fits else (middle, bold)
    return prune(removal_plan, bold)


def _parts(arguments: argparse.Namespace) -> Parts:
    if arguments.units_only:
        return "units"
    return "widths" if arguments.no_ranks else "ranks"


def _left(removal_plan: RemovalPlan, share: float, count: Count) -> int:
    """The size of what `prune` would leave, by counting alone: a repair takes seconds."""
    keep, _ = kept_indices(removal_plan, share)
    return _size(count, outline(removal_plan, keep))


def _size(count: str, declaration: axes.NetworkAxes) -> int:
    return (axes.parameters if count == "parameters" else axes.mult_adds)(declaration)
