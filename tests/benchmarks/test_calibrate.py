"""The benchmark of cuts: methods, and what its rows say of them."""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from benchmarks import calibrate
from benchmarks.baseline import Baseline
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.training.plan import TrainingPlan
from tests.conftest import WORDS, sentences


@pytest.fixture(scope="module")
def dense() -> Baseline:
    index = {word: position for position, word in enumerate(WORDS)}

    def ids(count: int, seed: int) -> torch.Tensor:
        text = sentences(count, seed).replace("\n", " <eos> ")
        return torch.tensor([index[word] for word in text.split()])

    texts = ids(1200, 0), ids(200, 1), ids(200, 2)
    network = LstmLanguageModel(LstmSpec(len(WORDS), 16, (24, 24)))
    network.initialise(0.3, torch.Generator().manual_seed(1))
    plan = TrainingPlan(epochs=3, batch=10, steps=12, optimizer="adamw", learning_rate=0.01)
    return Baseline(train(network, texts[0], plan).network, list(WORDS), *texts)


@pytest.mark.slow
def test_the_joint_cut_has_the_asked_work_with_and_without_training(dense: Baseline) -> None:
    rows = calibrate.joint(dense, [2.0, 3.0], [1.0, 0.5], tokens=1500)
    assert [row["method"] for row in rows] == ["joint", "joint_1s", "joint_0.5s"]
    assert 2.0 <= rows[0]["mult_adds_ratio"] < 2.3
    assert 3.0 <= rows[1]["mult_adds_ratio"] < 3.5
    assert rows[0]["training_seconds"] == 0
    assert rows[1]["training_seconds"] > rows[2]["training_seconds"] > 0
    original = perplexity(dense.network, dense.valid)
    assert rows[0]["perplexity"] < 1.1 * original  # a made-up language needs few directions
    assert rows[1]["perplexity"] < 1.1 * original


def test_removed_units_count_in_the_rows(dense: Baseline) -> None:
    rows = calibrate.closed_form(dense, [0.5], tokens=1500)
    by_method = {row["method"]: row for row in rows}
    assert list(by_method) == ["zero", "magnitude", "calibrated", "self_calibrated"]
    for row in rows:
        assert row["removed_share"] == pytest.approx(0.5, abs=0.05)
        assert row["mult_adds_ratio"] > 1.2
    assert by_method["calibrated"]["perplexity"] < by_method["zero"]["perplexity"]
    printed = io.StringIO()
    result = {"corpus": "made up", "units": [24, 24], "original_perplexity": 5.0, "rows": rows}
    Console(file=printed, width=120).print(calibrate.table(result))
    assert "self_calibrated" in printed.getvalue()
