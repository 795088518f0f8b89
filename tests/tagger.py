"""Small recurrent graphs: a trained tagger exported by torch, and recorded inputs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from isslim.compress import pipeline
from isslim.compress.kinds.registry import UploadedFiles
from isslim.compress.progress import CallbackProgress
from isslim.runtime.graphs.recorded_inputs import NamedArrays as Run
from isslim.runtime.graphs.recorded_inputs import write_runs
from isslim.settings.worker import Evaluations
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.recipe import Budget, Recipe

WORDS, TAGS, STEPS = 40, 5, 12


class Tagger(nn.Module):
    """Says of every word how many of a kind stood before it: ids (T, B) to scores (T, B, TAGS)."""

    def __init__(
        self, kind: type[nn.LSTM] | type[nn.GRU] = nn.LSTM, *, both: bool = False, layers: int = 2
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 12)
        self.recurrent = kind(12, 24, layers, bidirectional=both)
        self.scores = nn.Linear(24 * (1 + both), TAGS)

    def forward(self, ids: Tensor) -> Tensor:
        return self.scores(self.recurrent(self.embedding(ids))[0])  # type: ignore[no-any-return]


class Carried(nn.Module):
    """The same with the state going in and out, as a caller has it who reads word by word."""

    def __init__(self, tagger: Tagger) -> None:
        super().__init__()
        self.tagger = tagger

    def forward(self, ids: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        said, (hidden, cell) = self.tagger.recurrent(self.tagger.embedding(ids), (hidden, cell))
        return self.tagger.scores(said), hidden, cell


def trained(tagger: Tagger, steps: int = 80) -> Tagger:
    """Trained for a second: units of random weights are all alike."""
    generator = torch.Generator().manual_seed(3)
    optimizer = torch.optim.Adam(tagger.parameters(), 5e-3)
    for _ in range(steps):
        ids = torch.randint(WORDS, (STEPS, 16), generator=generator)
        wanted = torch.cumsum(ids < 8, 0) % TAGS
        loss = nn.functional.cross_entropy(tagger(ids).flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tagger.eval()


def export(
    model: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    free: dict[str, dict[int, str]] | None = None,
    opset: int = 17,
) -> Path:
    """Writes a graph by torch's legacy exporter; length and batch are free by default."""
    if free is None:
        free = {
            name: {0: "steps", 1: "batch"}
            for name in ("ids", "scores")
            if name in (*inputs, *outputs)
        }
        free |= {name: {1: "batch"} for name in (*inputs, *outputs) if name not in free}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            example,
            str(path),
            dynamo=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=free,
            opset_version=opset,
        )
    return path


def tagger_graph(
    folder: Path, kind: type[nn.LSTM] | type[nn.GRU] = nn.LSTM, *, both: bool = False
) -> Path:
    """A trained tagger as a file."""
    torch.manual_seed(0)
    example = (torch.zeros(STEPS, 2, dtype=torch.int64),)
    return export(
        trained(Tagger(kind, both=both)), example, folder / "tagger.onnx", ["ids"], ["scores"]
    )


def recorded(count: int, seed: int = 0) -> list[Run]:
    """Runs of the kind that the tagger was trained on, of several lengths and batches."""
    generator = np.random.default_rng(seed)
    return [
        {"ids": generator.integers(0, WORDS, (STEPS + index % 3, 1 + index % 4))}
        for index in range(count)
    ]


@dataclass(frozen=True)
class PublishedGraph:
    """A home with one graph's bundle in it, and the upload that it was made of."""

    settings: StoreSettings
    bundle_id: str
    upload: Path


def publish(home: Path, recipe: Recipe | None = None) -> PublishedGraph:
    """A tagger through the whole pipeline."""
    home.mkdir(parents=True, exist_ok=True)
    graph, samples = tagger_graph(home), home / "recorded.npz"
    write_runs(samples, recorded(40))
    asked = recipe or Recipe(name="tagger", budget=Budget(output_change=0.2))
    return PublishedGraph(
        StoreSettings(home=home), compress(home, graph, asked, calibration=samples), graph
    )


def compress(
    home: Path,
    graph: Path,
    recipe: Recipe,
    *,
    calibration: Path | None = None,
    held_out: Path | None = None,
    told: list[str] | None = None,
    evaluations: Evaluations = MappingProxyType({}),
) -> str:
    """Runs a graph through the whole pipeline; returns the bundle's id and appends to `told`."""
    settings = StoreSettings(home=home)
    work = home / "work"
    work.mkdir(parents=True, exist_ok=True)
    inputs = UploadedFiles(model=graph, calibration=calibration, held_out=held_out)
    messages = [] if told is None else told
    progress = CallbackProgress(lambda stage, done, message: messages.append(message))
    compressed = pipeline.compress_files(inputs, recipe, work, progress, evaluations)
    return pipeline.publish(compressed, BundleStore(settings), progress)
