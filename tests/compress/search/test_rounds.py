"""Learn mode on a small model: every learner keeps to the budget, a killed job resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from isslim.compress.errors import BudgetNotMet
from isslim.compress.ingest.reading import IngestReport
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.task import LanguageTask
from isslim.compress.kinds.language.texts import Texts
from isslim.compress.kinds.language.trainer import LanguageTrainer
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.progress import Lines, Progress
from isslim.compress.pruning import axes
from isslim.compress.pruning.narrow import declared_like
from isslim.compress.search.round_state import RoundState
from isslim.compress.search.rounds import run_rounds
from isslim.runtime.language.text import TextCodec, word_tokenizer
from isslim.types.manifest import TextContract
from isslim.types.recipe import Budget, Recipe
from tests.conftest import WORDS, Trained, sentences


def encode(text: str) -> Tensor:
    index = {word: position for position, word in enumerate(WORDS)}
    return torch.tensor([index[word] for word in text.replace("\n", " <eos> ").split()])


@pytest.fixture
def texts(trained: Trained) -> Texts:
    training = encode(sentences(2500, 5))
    return Texts(
        training[:1000], training, encode(trained.held_out.read_text()), "a part", "another text"
    )


def recipe(
    learner: str, budget: Budget | None = None, epochs: float = 6.0, start: str = "uploaded"
) -> Recipe:
    return Recipe.model_validate(
        {
            "mode": "learn",
            "learner": learner,
            "learn_epochs": epochs,
            "strength": 0.05,
            "calibration_tokens": 1000,
            "budget": budget or Budget(perplexity_rise=0.05),
            "start": start,
        }
    )


def learnt(network: LanguageModel, texts: Texts, asked: Recipe, work: Path) -> RoundState:
    return run_rounds(
        task_of(network, texts, asked), LanguageTrainer(network, texts, asked), work, Progress()
    )


def task_of(network: LanguageModel, texts: Texts, asked: Recipe) -> LanguageTask:
    contract = TextContract(
        unit="word",
        vocabulary=len(WORDS),
        start_token="<eos>",
        unknown_token="<unk>",
        newline_token="<eos>",
    )
    codec = TextCodec(word_tokenizer(WORDS, "<unk>", "<eos>"), contract)
    return LanguageTask(network, texts, asked, codec, IngestReport("made by the test"))


@pytest.mark.parametrize(
    "learner",
    [
        "calibrated",
        "proximal",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("l0", "group_lasso")),
    ],
)
def test_every_learner_ends_smaller_and_within_the_budget(
    learner: str, trained: Trained, texts: Texts, tmp_path: Path
) -> None:
    before = trained.network.arrays()
    # By the file, so that every host chooses the same sizes.
    asked = recipe(learner).model_copy(update={"optimize": "size"})
    found = learnt(trained.network, texts, asked, tmp_path)
    base = perplexity(trained.network, texts.held_out, streams=1)
    assert perplexity(found.network, texts.held_out, streams=1) <= 1.05 * base
    whole, small = trained.network.declaration(), found.network.declaration()
    assert axes.parameters(small) < 0.8 * axes.parameters(whole)
    whole = declared_like(whole, small)
    assert {axis: len(kept) for axis, kept in found.kept.items()} == dict(small.axes)
    for axis, kept in found.kept.items():
        assert sorted(set(kept.tolist())) == kept.tolist()
        assert kept.max() < whole.axes[axis]
    assert found.curve
    assert any(point.within_budget for point in found.curve)
    sizes = [sum(point.units.values()) for point in found.epochs]
    assert sizes[0] <= sum(whole.axes.values())
    assert all(point.seconds > 0 and point.steps > 0 for point in found.epochs)
    assert all(
        np.array_equal(before[name], array) for name, array in trained.network.arrays().items()
    )


@pytest.mark.parametrize("learner", ["calibrated", "proximal"])
def test_size_budget_is_reached_in_one_round(
    learner: str, trained: Trained, texts: Texts, tmp_path: Path
) -> None:
    found = learnt(trained.network, texts, recipe(learner, Budget(size_ratio=0.3), 2.0), tmp_path)
    whole, small = (
        axes.parameters(each.declaration()) for each in (trained.network, found.network)
    )
    assert 0.2 * whole < small <= 0.3 * whole
    assert len(found.curve) == 1


@pytest.mark.parametrize(
    "learner",
    [
        pytest.param("proximal", marks=pytest.mark.slow),
        *(pytest.param(each, marks=pytest.mark.long) for each in ("l0", "group_lasso")),
    ],
)
def test_every_learner_can_start_from_scratch(
    learner: str, trained: Trained, texts: Texts, tmp_path: Path
) -> None:
    training = encode(sentences(10_000, 5))
    longer = replace(texts, training=training, calibration=training[:1000])
    # By the file, here and below: by time no two measurements choose exactly the same sizes.
    asked = recipe(learner, Budget(perplexity_rise=0.35), 10.0, "scratch").model_copy(
        update={"strength": 0.004, "optimize": "size"}
    )
    found = learnt(trained.network, longer, asked, tmp_path)
    base = perplexity(trained.network, texts.held_out, streams=1)
    assert perplexity(found.network, texts.held_out, streams=1) <= 1.35 * base
    whole, small = (
        axes.parameters(each.declaration()) for each in (trained.network, found.network)
    )
    assert small < 0.5 * whole
    assert len(found.curve) == 1
    # Its first epoch begins without a word known: guessing among all words is a perplexity of 25.
    assert found.epochs[0].training_value > 15 > 5 * base


def test_fresh_weights_are_of_the_seed_and_not_the_uploaded_ones(
    trained: Trained, texts: Texts
) -> None:
    asked = recipe("proximal", start="scratch")
    first, again = (
        LanguageTrainer(trained.network, texts, asked).fresh().arrays() for _ in range(2)
    )
    other = (
        LanguageTrainer(trained.network, texts, asked.model_copy(update={"seed": 2}))
        .fresh()
        .arrays()
    )
    uploaded = trained.network.arrays()
    assert all(np.array_equal(first[name], again[name]) for name in uploaded)
    weights = [name for name in uploaded if "bias" not in name]
    assert all(first[name].shape == uploaded[name].shape for name in uploaded)
    assert not any(
        np.array_equal(first[name], drawn[name]) for drawn in (other, uploaded) for name in weights
    )


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"mode": "calibrate", "learner": "proximal"}, "the mode 'calibrate'"),
        ({"mode": "learn", "learner": "calibrated"}, "the learner 'calibrated'"),
    ],
)
def test_scratch_without_a_learner_that_trains_is_refused(asked: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=f"start 'scratch' with {told}.*or leave 'start' out"):
        Recipe.model_validate({**asked, "start": "scratch"})


class Killed(Exception):
    """Stands for the kill."""


@pytest.mark.parametrize("learner", ["calibrated", pytest.param("l0", marks=pytest.mark.long)])
def test_killed_job_goes_on_and_ends_as_the_undisturbed_one(
    learner: str, trained: Trained, texts: Texts, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    asked = recipe(learner, epochs=3.0).model_copy(update={"optimize": "size"})
    expected = learnt(trained.network, texts, asked, whole)
    for moment in (4, 9, 15):
        told = 0

        def progress(done: float, message: str, moment: int = moment) -> None:
            nonlocal told
            told += 1
            if told == moment:
                raise Killed

        with pytest.raises(Killed):
            run_rounds(
                task_of(trained.network, texts, asked),
                LanguageTrainer(trained.network, texts, asked),
                killed,
                Lines(progress),
            )
    found = learnt(trained.network, texts, asked, killed)
    assert found.network.declaration().axes == expected.network.declaration().axes
    first, second = (perplexity(each.network, texts.held_out) for each in (found, expected))
    assert first == pytest.approx(second, abs=0.1)


@pytest.mark.slow
def test_budget_that_no_round_keeps_is_an_answer_with_its_curve(
    trained: Trained, texts: Texts, tmp_path: Path
) -> None:
    with pytest.raises(BudgetNotMet, match="no smaller model within the budget") as answer:
        learnt(
            trained.network, texts, recipe("proximal", Budget(perplexity_rise=0.0), 0.5), tmp_path
        )
    assert len(answer.value.curve) >= 1
    assert not any(point.within_budget for point in answer.value.curve)
