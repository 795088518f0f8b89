"""The dense LSTM language models that the benchmarks compress: trained once, cached, resumable.

The recipe is part of the cache's name, so a changed recipe trains anew. A run that is stopped
continues from its checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from isslim.compress.ingest.reading import IngestReport
from isslim.compress.kinds.language.corpus import Corpus, build_vocabulary, load_corpus
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.task import LanguageTask
from isslim.compress.kinds.language.texts import Texts
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.training.plan import TrainingPlan
from isslim.runtime.language.text import TextCodec, word_tokenizer
from isslim.types.manifest import TextContract
from isslim.types.recipe import Recipe

Task = TypeVar("Task", bound=LanguageTask)

VOCABULARY = 10_000
RECIPE = TrainingPlan(epochs=10, bfloat16=True, seed=1)
DROPOUT = 0.4
LATER = {"loss", "schedule", "averaging_epoch", "patience", "extra_learning_rate", "keep"}
"""Fields that plans did not have when the first baselines were trained: their caches stay valid."""


@dataclass(frozen=True)
class Baseline:
    """A trained dense model, its words, and its corpus as token ids (int64, (N,))."""

    network: LstmLanguageModel
    words: list[str]
    train: Tensor
    valid: Tensor
    test: Tensor


def cache_folder() -> Path:
    """Where trained baselines lie: `$ISS_HOME/benchmarks`, `data/benchmarks` by default."""
    folder = Path(os.environ.get("ISS_HOME", "data")) / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def baseline(
    corpus: str, units: int = 400, layers: int = 2, recipe: TrainingPlan = RECIPE
) -> Baseline:
    """The dense model of a corpus: loaded from the cache, or trained with a line of progress.

    Args:
        corpus: `ptb`, `gutenberg`, `pydoc` or a folder, see
            `isslim.compress.kinds.language.corpus`.
        units: width of the embedding and of each layer.
        layers: number of LSTM layers.
        recipe: how it is trained.
    """
    text = load_corpus(corpus)
    words = build_vocabulary(text.train, VOCABULARY)
    trained, valid, test = (_encode(words, part) for part in (text.train, text.valid, text.test))
    spec = LstmSpec(len(words), units, (units,) * layers)
    key = json.dumps([asdict(spec), _describe(recipe), DROPOUT, _digest(text)], sort_keys=True)
    name = f"{Path(corpus).name}-{layers}x{units}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    path = cache_folder() / f"{name}.pt"
    network = LstmLanguageModel(spec, DROPOUT)
    if not path.exists():
        network.initialise(0.1, torch.Generator().manual_seed(recipe.seed))
        checkpoint = path.with_suffix(".checkpoint")
        dense = train(network, trained, recipe, checkpoint=checkpoint, progress=_show).network
        torch.save(dense.state_dict(), path.with_suffix(".partial"))
        path.with_suffix(".partial").replace(path)
        checkpoint.unlink(missing_ok=True)
    network.load_state_dict(torch.load(path, weights_only=True))
    return Baseline(network.eval(), words, trained, valid, test)


def task_of(dense: Baseline, recipe: Recipe, kind: type[Task]) -> Task:
    """A compression of a baseline, calibrated on its training text and judged on its valid text.

    Args:
        dense: the trained model and its texts.
        recipe: of the compression.
        kind: of the task.
    """
    texts = Texts(dense.train, dense.train, dense.valid, "training text", "validation text")
    contract = TextContract(
        unit="word",
        vocabulary=len(dense.words),
        start_token="<eos>",
        unknown_token="<unk>",
        newline_token="<eos>",
    )
    codec = TextCodec(word_tokenizer(dense.words, "<unk>", "<eos>"), contract)
    return kind(dense.network, texts, recipe, codec, IngestReport("the benchmark's own"))


def _describe(recipe: TrainingPlan) -> dict[str, object]:
    """What names the recipe in the cache: fields added later count only where they are changed."""
    unchanged = {
        field.name for field in fields(recipe) if getattr(recipe, field.name) == field.default
    }
    return {name: value for name, value in asdict(recipe).items() if name not in LATER & unchanged}


def _encode(words: list[str], text: str) -> Tensor:
    index = {word: position for position, word in enumerate(words)}
    unknown = index["<unk>"]
    return torch.tensor(
        [index.get(word, unknown) for word in text.replace("\n", " <eos> ").split()]
    )


def _digest(text: Corpus) -> str:
    return hashlib.sha256(text.train.encode()).hexdigest()


def _show(done: float, message: str) -> None:
    sys.stderr.write(f"\rtraining the dense model: {100 * done:3.0f} %, {message}   ")
    sys.stderr.flush()
