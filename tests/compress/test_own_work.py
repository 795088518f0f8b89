"""A working folder that serves one compression after the other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import isslim
from isslim.compress.kinds.upload import UploadedFiles
from isslim.compress.own_work import keep_own
from isslim.types.names import CHECKPOINT_NOTE
from isslim.types.recipe import Budget, Recipe
from tests.conftest import WORDS, sentences

RECIPE = Recipe(budget=Budget(perplexity_rise=0.05))


def weights(seed: int) -> dict[str, torch.Tensor]:
    """Of a small LSTM that was not trained."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "encoder.weight": (len(WORDS), 8),
        "rnn.weight_ih_l0": (48, 8), "rnn.weight_hh_l0": (48, 12),
        "rnn.bias_ih_l0": (48,), "rnn.bias_hh_l0": (48,),
        "decoder.weight": (len(WORDS), 12), "decoder.bias": (len(WORDS),),
    }  # fmt: skip
    return {name: 0.1 * torch.randn(each, generator=generator) for name, each in shapes.items()}


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


@pytest.fixture
def files(tmp_path: Path) -> UploadedFiles:
    for name in ("model", "train"):
        (tmp_path / name).write_text(name)
    return UploadedFiles(model=tmp_path / "model", train=tmp_path / "train")


@pytest.fixture
def work(tmp_path: Path, files: UploadedFiles) -> Path:
    """A folder in which such a compression was interrupted."""
    work = tmp_path / "work"
    keep_own(work, files, RECIPE)
    for name in ("learn/0.97/learning.state", "finetune/0-0.5/stages.state", "probes.json",
                 "latency-curves.json", "bundles/one/manifest.json"):  # fmt: skip
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("")
    return work


def test_the_same_request_finds_all_that_it_left(work: Path, files: UploadedFiles) -> None:
    before = left_in(work)
    keep_own(work, files, RECIPE)
    assert left_in(work) == before


@pytest.mark.parametrize("changed", ["model", "train", "recipe", "note"])
def test_another_request_finds_results_alone(
    changed: str, work: Path, files: UploadedFiles, tmp_path: Path
) -> None:
    if changed == "note":
        (work / CHECKPOINT_NOTE).unlink()
    elif changed != "recipe":
        (tmp_path / changed).write_text("another")
    minutes = 3.0 if changed == "recipe" else None
    keep_own(work, files, RECIPE.model_copy(update={"minutes": minutes}))
    assert left_in(work) == {
        CHECKPOINT_NOTE,
        "latency-curves.json",
        "bundles",
        "one",
        "manifest.json",
    }


def learnt(seed: int, folder: Path) -> list[str]:
    """The rounds that such a model is learnt in."""
    lines: list[str] = []
    isslim.compress(
        weights(seed),
        sentences(300, 1),
        held_out=sentences(100, 2),
        vocabulary=WORDS,
        budget={"limit": "size", "value": 0.7},
        mode="learn",
        learn_epochs=0.1,
        progress=lambda stage, done, message: lines.append(message),
        folder=folder,
    ).close()
    return [line for line in lines if line.startswith("round 1: removal step")]


@pytest.mark.slow
def test_a_model_is_not_taken_for_the_one_before_it_in_the_folder(tmp_path: Path) -> None:
    assert learnt(1, tmp_path) == learnt(2, tmp_path) != []
