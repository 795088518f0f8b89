"""What a reader loses of the original's predictions, against a sum token by token."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.probing import BATCH, PredictionLoss
from tests.compress.kinds.questions import made


def reader(seed: int) -> Bidaf:
    torch.manual_seed(seed)
    network = Bidaf(BidafSpec(12, made.codec().character_ids, 4, 6, (3, 4), (4, 2), (3, 3), (2, 5)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.5)
    return network.eval()


@torch.no_grad()
def test_it_is_the_relative_entropy_of_starts_and_ends_question_by_question() -> None:
    original, other, data = reader(0), reader(1), made.questions(25, seed=3)
    assert len(data.examples) > BATCH
    expected = 0.0
    for index in range(len(data.examples)):
        pairs = zip(original(*data.inputs([index])), other(*data.inputs([index])), strict=True)
        for before, after in pairs:
            for theirs, ours in zip(before[0].tolist(), after[0].tolist(), strict=True):
                expected += math.exp(theirs) * (theirs - ours)
    expected /= len(data.examples)
    assert expected > 0.05
    assert PredictionLoss(original, data).of(other) == pytest.approx(expected, rel=1e-4)


def test_the_original_loses_nothing_and_answers_do_not_matter() -> None:
    original, other, data = reader(0), reader(1), made.questions(12, seed=3)
    without = [replace(each, golden=(), span=None) for each in data.examples]
    found = PredictionLoss(original, data)
    assert found.of(original) == pytest.approx(0.0, abs=1e-9)
    assert PredictionLoss(original, replace(data, examples=without)).of(other) == found.of(other)
