"""Trains a language model, from scratch or from the folder of an earlier run.

    python -m isslim.compress train lstm --corpus ptb --units 650 --layers 2 --out FOLDER
    python -m isslim.compress train lstm --corpus ptb --start FOLDER --learner l0 --out SMALLER

With a learner (docs/adding-a-learner.md) components that count as removed at the end are taken out.
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
from pathlib import Path
from typing import Any

import torch

from isslim.compress.commands import plugins, train_bidaf
from isslim.compress.commands.corpus_loading import declare_corpus, read_corpus
from isslim.compress.commands.experiment import Experiment, carry_out
from isslim.compress.commands.plans import declare_plan, plan_of
from isslim.compress.devices import device_named
from isslim.compress.kinds.language.folder import WORDS, read_trained
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.registry import NAMES, build, spec_of
from isslim.compress.layers.regularisation import Regularisation
from isslim.compress.training.hooks import Learner
from isslim.compress.training.plan import TrainingPlan
from isslim.compress.training.ranks import Ranks, joined

UNITS = 400
"""Of each layer, where neither units nor a start are given."""


def declare(commands: Any) -> None:
    """Adds the command to a parser's commands, with the architectures as commands of its own."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train", help="train a model, with a learner of its structure if wanted"
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
    declare_corpus(parser)
    parser.add_argument("--words", type=Path, help="a vocabulary to use instead, one word a line")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for model, record and checkpoint"
    )
    parser.add_argument(
        "--start", type=Path, help="folder of an earlier run: its weights, sizes and vocabulary"
    )
    structure = parser.add_argument_group("structure (see docs/adding-a-learner.md)")
    structure.add_argument(
        "--learner",
        help=f"{', '.join(plugins.LEARNERS)}, or your own as package.module:Class",
    )
    structure.add_argument(
        "--learner-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the learner's class; may be given several times",
    )
    sizes = parser.add_argument_group("sizes")
    sizes.add_argument(
        "--units",
        type=int,
        nargs="+",
        help=f"of every layer, or one number per layer; default: {UNITS}",
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
        keep=None,
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
    if arguments.keep is None:
        # A learner removes components on the way, so only the last network is of the last size.
        arguments.keep = "best" if arguments.learner is None else "last"
    plan = plan_of(arguments, TrainingPlan)
    start = None if arguments.start is None else started_from(arguments.start, arguments)
    words = arguments.words if start is None else arguments.start / WORDS
    corpus = read_corpus(arguments.corpus, arguments.vocabulary, words, arguments.tokens)
    network = network_of(arguments, len(corpus.words)) if start is None else start
    learner = learner_of(arguments, plan, len(corpus.train))
    network = network.to(_device(arguments.device))
    arguments.out.mkdir(parents=True, exist_ok=True)
    options = {
        name: value for name, value in vars(arguments).items() if name not in {"run", "command"}
    }
    with joined() as group:
        progress = _progress_printer(group)
        shares = ", ".join(f"{part} {share:.2%}" for part, share in corpus.unknown_share.items())
        progress(
            0.0, f"{len(corpus.train):,} training tokens; words outside the vocabulary: {shares}"
        )
        experiment = Experiment(network, corpus, plan, arguments.out, learner)
        found = carry_out(experiment, group, progress, {"command": "train", "options": options})
        if found:
            progress(
                1.0,
                f"valid perplexity {found['valid_perplexity']:.2f}, "
                f"test {found['test_perplexity']:.2f}, units {found['units']}, "
                f"{found['seconds']:.0f} s of training"
                + (f" ({found['length']['truncated']})" if found["length"]["truncated"] else ""),
            )
    return 0


def learner_of(arguments: argparse.Namespace, plan: TrainingPlan, tokens: int) -> Learner | None:
    """The learner that the options name; None without one.

    Args:
        arguments: the options of `train`.
        plan: of the training.
        tokens: of the training text.

    Raises:
        PluginUnusable: see `learner_named`; and when there are options for no learner.
    """
    options = plugins.options_of(arguments.learner_option)
    if arguments.learner is None:
        if options:
            raise plugins.PluginUnusable("--learner-option is given, and no --learner")
        return None
    steps = max(1, round((tokens // plan.batch - 1) // plan.steps * plan.epochs))
    return plugins.learner_named(arguments.learner, options, steps=steps, seed=plan.seed)


def started_from(folder: Path, arguments: argparse.Namespace) -> LanguageModel:
    """The network that an earlier run left, under the regularisation of this one.

    Args:
        folder: of the run.
        arguments: the options of `train`.

    Raises:
        FileNotFoundError: when it holds no trained model.
        ValueError: when sizes are asked for too, or the model is of another architecture.
    """
    given = [
        f"--{name.replace('_', '-')}"
        for name in ("units", "layers", "embedding", "words")
        if getattr(arguments, name) is not None
    ]
    given += ["--tied"] if arguments.tied else []
    given += ["--depth"] if arguments.depth != 1 else []
    if given:
        raise ValueError(f"{', '.join(given)} beside --start: sizes and vocabulary are those of it")
    network = read_trained(folder)
    found = network.architecture.removesuffix("-language-model")
    if found != arguments.architecture:
        raise ValueError(f"{folder} holds a model of '{found}': `train {found}` continues it")
    return network.rebuilt(network.arrays(), _noise_of(arguments))


def network_of(arguments: argparse.Namespace, vocabulary: int) -> LanguageModel:
    """The untrained network: the one place that turns options into an architecture.

    Args:
        arguments: the options of `train`.
        vocabulary: the number of tokens.

    Raises:
        ValueError: when the options are not those of such a network.
    """
    units = tuple(arguments.units or [UNITS])
    if len(units) == 1:
        units *= arguments.layers or (1 if arguments.architecture == "rhn" else 2)
    elif arguments.layers not in (None, len(units)):
        raise ValueError(
            f"--layers {arguments.layers}, but units are given for {len(units)} layers"
        )
    embedding = arguments.embedding or (units[-1] if arguments.tied else units[0])
    spec = spec_of(
        arguments.architecture, vocabulary, embedding, units, arguments.tied, arguments.depth
    )
    network = build(spec, _noise_of(arguments))
    network.initialise(arguments.scale, torch.Generator().manual_seed(arguments.seed))
    return network


def _noise_of(arguments: argparse.Namespace) -> Regularisation:
    return Regularisation(
        dropout=arguments.dropout,
        variational=arguments.variational,
        dropout_embedding=arguments.embedding_dropout,
        dropout_input=arguments.input_dropout,
        dropout_output=arguments.output_dropout,
        dropout_state=arguments.state_dropout,
        weight_drop=arguments.weight_drop,
    )


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


def _device(name: str) -> torch.device:
    device = device_named(name)
    # Under torchrun each process of a machine has a GPU of its own.
    own = name == "auto" and device.type == "cuda"
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if own else device
