"""What each int8 form costs in perplexity and in time.

    python -m benchmarks.int8_forms [--json] [--models NAME ...]

Writes a table to standard output, or with `--json` what `benchmarks/records/int8_forms.json` holds.

Trains (or loads the cached) small language models on `pydoc`: of characters and of words, tied and
not, well trained, and overfitted on purpose, which makes weights large. Every form is written, and
run by the runtime; times are CPU time of one thread, of forms taken in turn, as ratios to the first
form (which a busy host does not change). The last columns are what
`isslim.compress.measurement.int8_choice` chooses from a sample of the same text, and what that
costs on all of it.

An overfitted model is evaluated on its training text: on any other it knows nothing that int8 could
spoil.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.baseline import cache_folder
from isslim.compress.export.int8_forms import FORMS
from isslim.compress.export.quantize import quantize
from isslim.compress.ingest.reading import IngestReport
from isslim.compress.kinds.language.corpus import build_vocabulary, load_corpus
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.task import LanguageTask
from isslim.compress.kinds.language.texts import Texts
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.measurement.int8_choice import write_int8
from isslim.compress.training.plan import TrainingPlan
from isslim.runtime.language.scoring import perplexity
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec, word_tokenizer
from isslim.types.manifest import TextContract
from isslim.types.recipe import Budget, Recipe

EVALUATED_TOKENS = 10_000
SHAPES = ((30, 1), (1, 1))
"""(steps, batch) that are timed."""
ROUNDS, TOKENS_OF_A_ROUND = 31, 300


@dataclass(frozen=True)
class Model:
    """A language model that the forms are tried on.

    Attributes:
        name: for people, and of the cached file.
        unit: what a token is, `character` or `word`.
        tokens: of the training text that are used.
        vocabulary: how many tokens there are at most.
        units: of each layer; the embedding is as wide as the first.
        plan: how it is trained.
        tied: whether the decoder is the embedding.
        dropout: while it is trained.
        by_heart: overfitted, and evaluated on its training text.
    """

    name: str
    unit: str
    tokens: int
    vocabulary: int
    units: tuple[int, ...]
    plan: TrainingPlan
    tied: bool = False
    dropout: float = 0.1
    by_heart: bool = False


_LEARNT = TrainingPlan(epochs=3, optimizer="adamw", learning_rate=3e-3, clip=1.0, batch=20)
_BY_HEART = TrainingPlan(epochs=120, optimizer="adamw", learning_rate=5e-3, clip=1.0, batch=10)
_LARGE = TrainingPlan(epochs=150, optimizer="adamw", learning_rate=2e-2, clip=5.0, batch=10)
MODELS = (
    Model("characters-128", "character", 500_000, 100, (128,), _LEARNT),
    Model("characters-2x256", "character", 500_000, 100, (256, 256), _LEARNT),
    Model("words-2x200", "word", 300_000, 5_000, (200, 200), _LEARNT, dropout=0.3),
    Model("words-200-tied", "word", 300_000, 5_000, (200,), _LEARNT, tied=True, dropout=0.3),
    Model(
        "characters-128-by-heart",
        "character",
        15_000,
        100,
        (128,),
        _BY_HEART,
        dropout=0.0,
        by_heart=True,
    ),
    Model(
        "words-100-by-heart", "word", 10_000, 1_000, (100,), _BY_HEART, dropout=0.0, by_heart=True
    ),
    Model(
        "characters-64-by-heart",
        "character",
        15_000,
        100,
        (64,),
        _LARGE,
        dropout=0.0,
        by_heart=True,
    ),
    Model(
        "words-80-tied-by-heart",
        "word",
        10_000,
        1_000,
        (80,),
        _LARGE,
        tied=True,
        dropout=0.0,
        by_heart=True,
    ),
)


def main() -> None:
    """Trains, tries every form, prints a table or one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", choices=[model.name for model in MODELS], help="default: all"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models = [
        model for model in MODELS if arguments.models is None or model.name in arguments.models
    ]
    rows = [row_of(model) for model in models]
    if arguments.json:
        sys.stdout.write(
            json.dumps({"forms": [form.description for form in FORMS], "rows": rows}) + "\n"
        )
        return
    description = ", ".join(
        f"{letter}: {form.description}" for letter, form in zip("ABCD", FORMS, strict=True)
    )
    table = Table(title=f"rise of perplexity in percent, and CPU time by that of A ({description})")
    shapes = [f"{steps} x {batch}" for steps, batch in SHAPES]
    for column in (
        "model",
        "perplexity",
        *"ABCD",
        *(f"B, C, D, float32 at {each}" for each in shapes),
        "chosen",
        "cost",
    ):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["model"],
            f"{row['perplexity']:.2f}",
            *(f"{100 * rise:+.2f}" for rise in row["rises"]),
            *(", ".join(f"{ratio:.2f}" for ratio in row["times"][each][1:]) for each in shapes),
            row["chosen"],
            f"{100 * row['rise_of_chosen']:+.2f}",
        )
    Console(width=None if sys.stdout.isatty() else 180).print(table)


def row_of(model: Model) -> dict[str, Any]:
    """A model's figures.

    Returns:
        `rises` of perplexity by form; `times` by shape: each form's, then float32's, as ratios to
        the first form's.
    """
    network, tokens, words = trained(model)
    end, unknown = ("<eos>", "<unk>") if model.unit == "word" else ("\n", " ")
    contract = TextContract(
        unit="word",
        vocabulary=len(words),
        start_token=end,
        unknown_token=unknown,
        newline_token=end,
    )
    codec = TextCodec(word_tokenizer(words, unknown, end), contract)
    texts = Texts(tokens, tokens, tokens, "pydoc", "pydoc")
    task = LanguageTask(
        network, texts, Recipe(budget=Budget(perplexity_rise=0.05)), codec, IngestReport(model.name)
    )
    with tempfile.TemporaryDirectory() as folder:
        plain, paths = (
            Path(folder) / "plain.onnx",
            [Path(folder) / f"{number}.onnx" for number in range(len(FORMS))],
        )
        task.export(network, plain)
        for form, path in zip(FORMS, paths, strict=True):
            quantize(plain, path, form)
        found = write_int8(task, network, plain, Path(folder) / "chosen.onnx", plain)
        sessions = [LanguageSession(path) for path in (*paths, plain)]
        *values, exact = [
            perplexity(session, tokens.tolist(), codec.start_id) for session in sessions
        ]
        value = perplexity(
            LanguageSession(Path(folder) / "chosen.onnx"), tokens.tolist(), codec.start_id
        )
        times = {f"{steps} x {batch}": _times(sessions, steps, batch) for steps, batch in SHAPES}
    return {
        "model": model.name,
        "perplexity": exact,
        "rises": [each / exact - 1 for each in values],
        "times": times,
        "chosen": found.description,
        "rise_of_chosen": value / exact - 1,
    }


def _times(sessions: list[LanguageSession], steps: int, batch: int) -> list[float]:
    """CPU time of each session's runs by the first's, median over rounds in turn."""
    generator = np.random.default_rng(0)
    tokens, targets = generator.integers(0, sessions[0].vocabulary, (2, steps, batch))
    lengths, runs = np.full(batch, steps, np.int32), max(3, TOKENS_OF_A_ROUND // (steps * batch))

    def once(session: LanguageSession) -> float:
        state, began = session.zero_state(batch), time.thread_time_ns()
        for _ in range(runs):
            session.run(tokens, targets, lengths, state)
        return float(time.thread_time_ns() - began)

    found = []
    for round_ in range(ROUNDS):
        order: Callable[[Any], Any] = list if round_ % 2 else reversed
        spent = {}
        for index in order(range(len(sessions))):
            once(sessions[index])
            spent[index] = once(sessions[index])
        found.append([spent[index] / spent[0] for index in range(len(sessions))])
    return [float(each) for each in np.median(found, axis=0)]


def trained(model: Model) -> tuple[LstmLanguageModel, Tensor, list[str]]:
    """The network, trained where it is not cached.

    Returns:
        Network, the tokens it is evaluated on (int64, at most `EVALUATED_TOKENS`), and its words.
    """
    corpus = load_corpus("pydoc")
    if model.unit == "character":
        words = sorted(set(corpus.train[: model.tokens]))[: model.vocabulary]
        parts = [
            [each for each in text if each in words]
            for text in (corpus.train[: 2 * model.tokens], corpus.valid)
        ]
    else:
        words = build_vocabulary(corpus.train[: 8 * model.tokens], model.vocabulary)
        parts = [text.replace("\n", " <eos> ").split() for text in (corpus.train, corpus.valid)]
    index = {word: position for position, word in enumerate(words)}
    learnt, fresh = ([index.get(each, index.get("<unk>", 0)) for each in part] for part in parts)
    text = torch.tensor(learnt[: model.tokens])
    evaluated = torch.tensor(
        (learnt[: model.tokens] if model.by_heart else fresh)[:EVALUATED_TOKENS]
    )
    spec = LstmSpec(
        len(words), model.units[-1] if model.tied else model.units[0], model.units, tied=model.tied
    )
    path, network = cache_folder() / f"int8-{model.name}.pt", LstmLanguageModel(spec, model.dropout)
    if not path.exists():
        network.initialise(0.1, torch.Generator().manual_seed(1))
        checkpoint = path.with_suffix(".checkpoint")
        found = train(network, text, model.plan, checkpoint=checkpoint, progress=_show).network
        torch.save(found.state_dict(), path.with_suffix(".partial"))
        path.with_suffix(".partial").replace(path)
        checkpoint.unlink(missing_ok=True)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval(), evaluated, words


def _show(done: float, message: str) -> None:
    sys.stderr.write(f"\rtraining: {100 * done:3.0f} %, {message}   ")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
