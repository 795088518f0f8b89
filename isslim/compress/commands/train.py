"""Trains a language model from scratch.

    python -m isslim.compress train lstm --corpus ptb --units 650 --layers 2 --out FOLDER

The folder gets `model.safetensors`, `config.json` and `words.txt` (an upload for `POST /compress`),
`record.json`, and `training.checkpoint`, from which the same command continues. Under `torchrun
--nproc-per-node N` N processes divide the batch. A run that diverges for good leaves its best model
and its story.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from isslim.compress.commands import train_bidaf
from isslim.compress.commands.corpus_loading import ReadCorpus, read_corpus
from isslim.compress.commands.plans import declare_plan, plan_of
from isslim.compress.commands.saving import save_model, save_record
from isslim.compress.devices import device_named
from isslim.compress.errors import TrainingDiverged
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.registry import NAMES, build, spec_of
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.kinds.language.training.plan import TrainingOutcome
from isslim.compress.layers.regularisation import Regularisation
from isslim.compress.pruning import axes
from isslim.compress.training.plan import TrainingPlan
from isslim.compress.training.ranks import Ranks, joined


def declare(commands: Any) -> None:
    """Adds the command to a parser's commands, with the architectures as commands of its own."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train", help="train a model from scratch"
    )
    architectures = parser.add_subparsers(dest="architecture", required=True)
    for name in NAMES:
        _declare_language_model(
            architectures.add_parser(
                name,
                help="a language model",
                description=__doc__,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    train_bidaf.declare(architectures)


def _declare_language_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--corpus",
        default="pydoc",
        help="ptb, gutenberg, pydoc or a folder (see isslim/compress/kinds/language/corpus.py)",
    )
    parser.add_argument(
        "--vocabulary", type=int, default=10_000, help="words, by frequency in the training text"
    )
    parser.add_argument("--words", type=Path, help="a vocabulary to use instead, one word a line")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for model, record and checkpoint"
    )
    sizes = parser.add_argument_group("sizes")
    sizes.add_argument(
        "--units",
        type=int,
        nargs="+",
        default=[400],
        help="of every layer, or one number per layer",
    )
    sizes.add_argument(
        "--layers",
        type=int,
        default=None,
        help="default: as many as units are given, 2 for one number",
    )
    sizes.add_argument("--depth", type=int, default=1, help="highway layers of one step (rhn)")
    sizes.add_argument(
        "--embedding", type=int, help="default: the first layer's units; tied: the last layer's"
    )
    sizes.add_argument("--tied", action="store_true", help="the decoder is the embedding")
    sizes.add_argument("--scale", type=float, default=0.1, help="weights start uniform in +-scale")
    noise = parser.add_argument_group("regularisation")
    noise.add_argument("--dropout", type=float, default=0.4)
    noise.add_argument("--variational", action="store_true", help="one mask per segment")
    noise.add_argument("--embedding-dropout", type=float, default=0.0, help="whole words")
    noise.add_argument(
        "--input-dropout", type=float, help="of what the first layer reads; default: --dropout"
    )
    noise.add_argument(
        "--output-dropout", type=float, help="of what the decoder reads; default: --dropout"
    )
    noise.add_argument(
        "--state-dropout", type=float, default=0.0, help="of the recurrent state (rhn)"
    )
    noise.add_argument(
        "--weight-drop", type=float, default=0.0, help="DropConnect on hidden-to-hidden matrices"
    )
    declare_plan(
        parser.add_argument_group("training (see isslim/compress/kinds/language/training/plan.py)"),
        TrainingPlan,
        keep="best",
    )
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, or auto: a GPU if there is one"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Trains, or continues; returns the exit status.

    Raises:
        TrainingDiverged: after the best model so far and the record were written.
    """
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    plan = plan_of(arguments, TrainingPlan)
    corpus = read_corpus(arguments.corpus, arguments.vocabulary, arguments.words)
    network = network_of(arguments, len(corpus.words)).to(_device(arguments.device))
    arguments.out.mkdir(parents=True, exist_ok=True)
    with joined() as group:
        print_progress = _progress_printer(group)
        shares = ", ".join(f"{part} {share:.2%}" for part, share in corpus.unknown_share.items())
        print_progress(
            0.0, f"{len(corpus.train):,} training tokens; words outside the vocabulary: {shares}"
        )
        description: list[str] = []

        def progress(done: float, line: str) -> None:
            print_progress(done, line)
            if not line.startswith(("step ", "epoch ")):
                description.append(line)

        checkpoint = arguments.out / "training.checkpoint"
        try:
            trained = train(
                network,
                corpus.train,
                plan,
                valid=corpus.valid,
                checkpoint=checkpoint,
                progress=progress,
            )
        except TrainingDiverged as error:
            if group.first:
                _write(arguments, plan, corpus, group, error.best, error.issues)
            raise
        if group.first:
            found = _write(arguments, plan, corpus, group, trained, description)
            print_progress(
                1.0,
                f"valid perplexity {found['valid_perplexity']:.2f}, "
                f"test {found['test_perplexity']:.2f}",
            )
    return 0


def network_of(arguments: argparse.Namespace, vocabulary: int) -> LanguageModel:
    """The untrained network: the one place that turns options into an architecture.

    Args:
        arguments: the options of `train`.
        vocabulary: the number of tokens.

    Raises:
        ValueError: when the options are not those of such a network.
    """
    units = tuple(arguments.units)
    if len(units) == 1:
        units *= arguments.layers or (1 if arguments.architecture == "rhn" else 2)
    elif arguments.layers not in (None, len(units)):
        raise ValueError(
            f"--layers {arguments.layers}, but units are given for {len(units)} layers"
        )
    embedding = arguments.embedding or (units[-1] if arguments.tied else units[0])
    noise = Regularisation(
        dropout=arguments.dropout,
        variational=arguments.variational,
        dropout_embedding=arguments.embedding_dropout,
        dropout_input=arguments.input_dropout,
        dropout_output=arguments.output_dropout,
        dropout_state=arguments.state_dropout,
        weight_drop=arguments.weight_drop,
    )
    spec = spec_of(
        arguments.architecture, vocabulary, embedding, units, arguments.tied, arguments.depth
    )
    network = build(spec, noise)
    network.initialise(arguments.scale, torch.Generator().manual_seed(arguments.seed))
    return network


def _progress_printer(group: Ranks) -> Callable[[float, str], None]:
    """A line per epoch on standard output; steps only to a person who watches, overwritten."""

    def progress(done: float, line: str) -> None:
        if not group.first:
            return
        if not line.startswith("step "):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        elif sys.stderr.isatty():
            sys.stderr.write(f"{100 * done:3.0f} %, {line}   \r")

    return progress


def _write(
    arguments: argparse.Namespace,
    plan: TrainingPlan,
    corpus: ReadCorpus,
    group: Ranks,
    trained: TrainingOutcome,
    description: list[str],
) -> dict[str, float]:
    """Model and record; returns the final perplexities."""
    network = trained.network
    declaration = network.declaration()
    # The test text is one stream with carried state, as the paper scores it; validation is the
    # quick estimate.
    found = {
        "valid_perplexity": perplexity(network, corpus.valid),
        "test_perplexity": perplexity(network, corpus.test, streams=1),
    }
    save_model(arguments.out, network, corpus.words, tied=arguments.tied)
    options = {
        name: value for name, value in vars(arguments).items() if name not in {"run", "command"}
    }
    save_record(
        arguments.out,
        {
            "command": "train",
            "options": options,
            "plan": asdict(plan),
            "seed": plan.seed,
            "processes": group.world,
            "vocabulary": len(corpus.words),
            "tokens": {part: len(getattr(corpus, part)) for part in ("train", "valid", "test")},
            "unknown_share": corpus.unknown_share,
            "units": dict(declaration.axes),
            "parameters": axes.parameters(declaration),
            "mult_adds": axes.mult_adds(declaration),
            "epochs": [vars(record) for record in trained.epochs],
            "setbacks": description,
            **found,
        },
    )
    return found


def _device(name: str) -> torch.device:
    device = device_named(name)
    # Under torchrun each process of a machine has a GPU of its own.
    own = name == "auto" and device.type == "cuda"
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if own else device
