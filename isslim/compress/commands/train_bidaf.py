"""Trains a question-answering model from scratch.

    python -m isslim.compress train bidaf --data FOLDER --vectors FILE --out FOLDER

The data folder holds SQuAD v1.1 JSON files, plain or .xz: those whose names begin with `train` are
trained on, those that begin with `dev` are answered after each epoch. The vectors are GloVe's text
or an npz (see isslim/compress/kinds/questions/vectors.py). The output folder gets an upload (see
isslim/compress/kinds/questions/folder.py), `record.json` with the curve, `predictions.json`, and
`training.checkpoint`, from which the same command continues.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from isslim.compress.commands.plans import declare_plan, plan_of
from isslim.compress.commands.saving import save_record, training_length, write
from isslim.compress.devices import device_named
from isslim.compress.kinds.questions.evaluation import Evaluated, evaluate
from isslim.compress.kinds.questions.examples import Questions, common_characters, prepare
from isslim.compress.kinds.questions.folder import save_reader
from isslim.compress.kinds.questions.networks.axes import LSTMS, BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.plan import QuestionPlan, ReaderTrainingOutcome
from isslim.compress.kinds.questions.squad import Paragraph, read_squad
from isslim.compress.kinds.questions.training import train_reader
from isslim.compress.kinds.questions.vectors import read_vectors
from isslim.compress.pruning import axes
from isslim.compress.training.sparsity import QUANTILES
from isslim.runtime.questions.question_tokenizer import PassageCodec


def declare(architectures: Any) -> None:
    """Adds the architecture to those of `train`."""
    parser: argparse.ArgumentParser = architectures.add_parser(
        "bidaf",
        help="question answering",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of train*.json[.xz] and dev*.json[.xz]"
    )
    parser.add_argument(
        "--vectors", type=Path, required=True, help="GloVe text, or an npz of words and vectors"
    )
    parser.add_argument(
        "--most-words", type=int, help="vectors to keep, from the top of the file; default: all"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for model, record and checkpoint"
    )
    sizes = parser.add_argument_group("sizes")
    sizes.add_argument(
        "--units", type=int, nargs="+", default=[100], help=f"of {', '.join(LSTMS)}, or one for all"
    )
    sizes.add_argument("--filters", type=int, default=100, help="of the character convolution")
    sizes.add_argument("--character-embedding", type=int, default=8)
    sizes.add_argument(
        "--character-count", type=int, default=50, help="rarer characters are read as unknown"
    )
    parser.add_argument("--dropout", type=float, default=0.2)
    group = parser.add_argument_group("training (see isslim/compress/kinds/questions/training.py)")
    declare_plan(group, QuestionPlan)
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, or auto: a GPU if there is one"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Trains, or continues; returns the exit status."""
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    plan = plan_of(arguments, QuestionPlan)
    paragraphs = _read(arguments.data, "train")
    codec = PassageCodec(
        *read_vectors(arguments.vectors, arguments.most_words),
        common_characters(paragraphs, arguments.character_count),
    )
    training, validation = prepare(paragraphs, codec), prepare(_read(arguments.data, "dev"), codec)
    for name, each in (("training", training), ("validation", validation)):
        _print_progress(
            0.0, f"{len(each.examples):,} {name} questions; {_reasons(each.unrecovered)}"
        )
    torch.manual_seed(plan.seed)
    network = Bidaf(_spec(arguments, codec), arguments.dropout).to(device_named(arguments.device))
    arguments.out.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.out / "training.checkpoint"
    trained = train_reader(
        network, training, validation, plan, checkpoint=checkpoint, progress=_print_progress
    )
    save_reader(arguments.out, trained.network, codec)
    found = evaluate(trained.network, validation)
    predictions = {
        each.id: answer for each, answer in zip(validation.examples, found.answers, strict=True)
    }
    write(arguments.out / "predictions.json", json.dumps(predictions, ensure_ascii=False).encode())
    save_record(arguments.out, _record(arguments, plan, training, validation, trained, found))
    _print_progress(
        1.0,
        f"epoch {trained.best} kept: EM {found.scores.em:.2f}, F1 {found.scores.f1:.2f} of all "
        "questions",
    )
    return 0


def _record(
    arguments: argparse.Namespace,
    plan: QuestionPlan,
    training: Questions,
    validation: Questions,
    trained: ReaderTrainingOutcome,
    found: Evaluated,
) -> dict[str, Any]:
    declaration = trained.network.declaration()
    sets = {"training": training, "validation": validation}
    return {
        "command": "train bidaf",
        "options": {
            name: value for name, value in vars(arguments).items() if name not in {"run", "command"}
        },
        "plan": asdict(plan),
        "seed": plan.seed,
        "questions": {name: len(each.examples) for name, each in sets.items()},
        "unrecovered": {
            name: {str(why): n for why, n in each.unrecovered.items()}
            for name, each in sets.items()
        },
        "units": dict(declaration.axes),
        "parameters": axes.parameters(declaration),
        "length": training_length(
            asdict(plan), sum(each.steps for each in trained.epochs), trained.steps_of_an_epoch
        ),
        "seconds": round(sum(each.seconds for each in trained.epochs), 1),
        "quantiles": QUANTILES,
        "epochs": [asdict(each) for each in trained.epochs],
        "best_epoch": trained.best,
        "em": found.scores.em,
        "f1": found.scores.f1,
        "validation_loss": found.loss,
    }


def _spec(arguments: argparse.Namespace, codec: PassageCodec) -> BidafSpec:
    units = arguments.units * len(LSTMS) if len(arguments.units) == 1 else arguments.units
    if len(units) != len(LSTMS):
        raise ValueError(f"--units {units}: one number, or one for each of {', '.join(LSTMS)}")
    return BidafSpec(
        codec.width,
        codec.character_ids,
        arguments.character_embedding,
        arguments.filters,
        *((size, size) for size in units),
    )


def _read(folder: Path, part: str) -> list[Paragraph]:
    paths = sorted(
        path for path in folder.glob(f"{part}*") if path.name.endswith((".json", ".json.xz"))
    )
    if not paths:
        raise FileNotFoundError(f"there is no {part}*.json or {part}*.json.xz in {folder}")
    return read_squad(paths)


def _reasons(unrecovered: Counter[Any]) -> str:
    description = ", ".join(f"{count:,} {why}" for why, count in sorted(unrecovered.items()))
    return f"answers that are no span of tokens: {description or 'none'}"


def _print_progress(done: float, line: str) -> None:
    """A line per epoch on standard output; steps only to a person who watches, overwritten."""
    if not line.startswith("step "):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    elif sys.stderr.isatty():
        sys.stderr.write(f"{100 * done:3.0f} %, {line}   \r")
