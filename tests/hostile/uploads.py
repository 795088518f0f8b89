"""Whole uploads: each hostile file with what belongs beside it, and how reading it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from benchmarks.reader import LETTERS, random_reader
from isslim.compress.errors import CompressError
from isslim.compress.inspection.confined import run_reading, understood
from isslim.compress.kinds.registry import UploadedFiles
from isslim.settings.worker import WorkerSettings
from isslim.types.recipe import Recipe
from tests.conftest import WORDS
from tests.hostile.checkpoints import CHECKPOINTS, language_model
from tests.hostile.companions import CONFIGS, QUESTIONS, TEXTS, VOCABULARIES, split, text, tokenizer
from tests.hostile.graphs import GRAPHS, RUNS, layer, saved, written
from tests.reader import SPEC

Make = Callable[[Path], None]


@dataclass(frozen=True)
class Hostile:
    """An upload.

    Attributes:
        name: what is wrong with which of its files.
        files: who writes each, by the field of the upload.
        refusals: kinds of the problem that it may end with; an empty one: it is understood.
    """

    name: str
    files: dict[str, Make]
    refusals: tuple[str, ...]

    def write(self, folder: Path) -> UploadedFiles:
        """Writes its files."""
        names = {"model": "model.bin"}
        paths = {field: folder / names.get(field, field) for field in self.files}
        for field, make in self.files.items():
            make(paths[field])
        return UploadedFiles.model_validate(paths)


@dataclass(frozen=True)
class Read:
    """How reading an upload ended.

    Attributes:
        refusal: kind of its problem; empty: it was understood.
        detail: of the problem.
        seconds: on the clock.
        peak_mib: memory of the process that read it.
    """

    refusal: str
    detail: str
    seconds: float
    peak_mib: int


def _vectors(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones((5, SPEC.vectors), np.float32))


def hostile_uploads() -> Iterator[Hostile]:
    """All of them."""
    words = {"vocabulary": text("\n".join(WORDS) + "\n")}
    model = {"model": language_model(lambda _: None)}
    for name, (make, refusals) in CHECKPOINTS.items():
        yield Hostile(f"checkpoint/{name}", {"model": make, **words}, refusals)
    for name, (make, refusals) in VOCABULARIES.items():
        yield Hostile(f"vocabulary/{name}", {**model, "vocabulary": make}, refusals)
    for name, (make, refusals) in TEXTS.items():
        yield Hostile(f"text/{name}", {**model, **words, "calibration": make}, refusals)
    slow = {"pre_tokenizer": split(r"^(\w+\s?)*$"), "normalizer": None}
    yield Hostile(
        "text/for-a-catastrophic-regex",
        {
            **model,
            "vocabulary": tokenizer(**slow),
            "calibration": text("the cat sees nothing " * 2000 + "!"),
        },
        ("", "text-unusable", "reading-too-long"),
    )
    for name, (make, refusals) in CONFIGS.items():
        yield Hostile(f"config/{name}", {**model, **words, "config": make}, refusals)
    reader = {
        "model": lambda path: save_file(random_reader(SPEC, 0).state_dict(), path),
        "vocabulary": text("\n".join(["a", "b", "what", "is", "it"])),
        "vectors": _vectors,
        "characters": text("\n".join(LETTERS)),
    }
    for name, (make, refusals) in QUESTIONS.items():
        yield Hostile(f"questions/{name}", {**reader, "calibration": make}, refusals)
    runs = saved(
        **{
            f"{n}/x": np.random.default_rng(n).normal(size=(4, 1, 6)).astype(np.float32)
            for n in range(12)
        }
    )
    for name, (make, refusals) in GRAPHS.items():
        yield Hostile(f"graph/{name}", {"model": make, "calibration": runs}, refusals)
    for name, (make, refusals) in RUNS.items():
        yield Hostile(f"runs/{name}", {"model": written(layer), "calibration": make}, refusals)


def read(upload: Hostile, folder: Path, settings: WorkerSettings) -> Read:
    """Reads an upload as the first stage of a job does.

    Args:
        upload: the upload.
        folder: an empty one.
        settings: with the limits.
    """
    files = upload.write(folder)
    began = time.monotonic()
    ended, limits = run_reading(files, Recipe(), settings, folder)
    seconds = time.monotonic() - began
    kind = detail = ""
    try:
        understood(ended, limits)
    except CompressError as refused:
        problem = refused.problem()
        kind, detail = problem.kind, " | ".join([problem.detail, *problem.issues[:1]])
    assert not (folder / "reading").exists()
    return Read(kind, detail, seconds, ended.peak_bytes >> 20)
