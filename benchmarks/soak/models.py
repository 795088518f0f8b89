"""The models of a soak: small ones of three kinds, and copies of them under ids of their own."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.published.exporting import export
from benchmarks.reader import LETTERS, publish_reader, random_reader
from benchmarks.service_overhead import publish
from isslim.compress import pipeline
from isslim.compress.kinds.language.networks.lstm import LstmSpec
from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.registry import UploadedFiles
from isslim.compress.progress import Progress
from isslim.runtime.graphs.recorded_inputs import write_runs
from isslim.store.bundles import BundleStore
from isslim.store.folders import seal
from isslim.store.integrity import MANIFEST
from isslim.store.settings import StoreSettings
from isslim.types.recipe import Budget, Recipe

LANGUAGE, GRAPH, READER = "words", "tagger", "reader"
VOCABULARY, WORDS, TAGS, STEPS = 2_000, 40, 5, 12
SPEC = LstmSpec(VOCABULARY, 64, (64, 64))
READER_WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "mat",
    ".",
    "who",
    "?",
    "a",
    "dog",
    "slept",
    "under",
    "tree",
]
_CHARACTERS = len(LETTERS) + 2
READER_SPEC = BidafSpec(
    vectors=6, characters=_CHARACTERS, character_embedding=4, filters=7, contextual=(5, 4),
    modelling0=(6, 3), modelling1=(4, 5), output=(3, 6),
)  # fmt: skip
SMALL_READER = BidafSpec(
    vectors=6, characters=_CHARACTERS, character_embedding=4, filters=5, contextual=(3, 4),
    modelling0=(2, 3), modelling1=(1, 2), output=(3, 2),
)  # fmt: skip


class Tagger(nn.Module):
    """A network of random weights: ids (T, B) to scores (T, B, TAGS)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16)
        self.recurrent = nn.LSTM(16, 32)
        self.scores = nn.Linear(32, TAGS)

    def forward(self, ids: Tensor) -> Tensor:
        """See `nn.Module`."""
        found: Tensor = self.scores(self.recurrent(self.embedding(ids))[0])
        return found


def first_models(home: Path) -> dict[str, str]:
    """Publishes a model of each kind; their ids, by name."""
    settings = StoreSettings(home=home)
    torch.manual_seed(0)
    reader = publish_reader(
        settings,
        READER_WORDS,
        random_reader(READER_SPEC, 0, spread=0.5),
        random_reader(SMALL_READER, 1, spread=0.5),
        name=READER,
    )
    return {LANGUAGE: publish(settings, SPEC), GRAPH: _tagger(settings), READER: reader}


def _tagger(settings: StoreSettings) -> str:
    with tempfile.TemporaryDirectory(dir=settings.home) as name:
        work = Path(name)
        graph, samples = work / "tagger.onnx", work / "recorded.npz"
        example = (torch.zeros(STEPS, 2, dtype=torch.int64),)
        free = {"ids": ("steps", "batch"), "scores": ("steps", "batch", None)}
        export(Tagger(), example, graph, free)
        generator = np.random.default_rng(0)
        write_runs(samples, [{"ids": generator.integers(0, WORDS, (STEPS, 2))} for _ in range(40)])
        recipe = Recipe(name=GRAPH, budget=Budget(output_change=0.2), minutes=0)
        inputs, progress = UploadedFiles(model=graph, calibration=samples), Progress()
        compressed = pipeline.compress_files(inputs, recipe, work, progress)
        return pipeline.publish(compressed, BundleStore(settings), progress)


@dataclass(frozen=True)
class Copies:
    """Makes bundles that hold what a first one holds, under other ids: their answers are known.

    Attributes:
        settings: of the store.
        firsts: ids of the first models, by name.
    """

    settings: StoreSettings
    firsts: dict[str, str]
    _numbers = count(1)

    def publish(self, name: str) -> str:
        """A copy of the first model of a name; its id."""
        store, number = BundleStore(self.settings), next(self._numbers)
        first = store.open(self.firsts[name])
        with tempfile.TemporaryDirectory(dir=self.settings.home) as work:
            made = Path(work) / "copy"
            shutil.copytree(first.folder, made)
            (made / MANIFEST).unlink()
            created = first.manifest.created_at + timedelta(seconds=number)
            changed = {"name": f"{name}-{number}", "created_at": created}
            seal(made, first.manifest.model_copy(update=changed))
            return store.publish(made)
