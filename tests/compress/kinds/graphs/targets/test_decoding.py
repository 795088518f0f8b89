"""CTC's strings and distances against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.kinds.graphs.targets.decoding import CtcErrorRate, decoded, edits
from isslim.compress.kinds.graphs.targets.labelling import Labelling
from tests.compress.kinds.graphs.targets import slow


def test_strings_and_distances_are_those_of_plain_loops() -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        blank = int(generator.integers(0, 4))
        steps = generator.integers(0, 4, generator.integers(0, 12))
        other = generator.integers(0, 4, generator.integers(0, 9))
        found = decoded(steps, blank)
        assert found.tolist() == slow.collapsed(steps.tolist(), blank)
        assert edits(found, other) == slow.distance(found.tolist(), other.tolist())
    assert decoded(np.array([1, 1, 0, 1, 2]), 0).tolist() == [1, 1, 2]


@pytest.mark.parametrize("sequences", [0, 1])
def test_the_error_rate_is_edits_for_each_symbol(sequences: int) -> None:
    generator = np.random.default_rng(1)
    scores, targets, expected, symbols = [], [], 0, 0
    for _ in range(30):
        steps = generator.integers(0, 5, (3, 14))  # sequences, steps
        rows = np.full((3, 8), -1)
        for row, own in zip(rows, steps, strict=True):
            length = int(generator.integers(1, 8))
            row[:length] = generator.integers(1, 5, length)
            expected += slow.distance(slow.collapsed(own.tolist(), 0), row[:length].tolist())
            symbols += length
        one = np.eye(5)[steps if sequences == 0 else steps.T]
        scores.append(one + 0.1 * generator.random(one.shape))
        targets.append(rows)
    measure = CtcErrorRate(Labelling("ctc_error_rate", "y", 2, sequences=sequences), targets)
    assert measure.missing() is None
    answers = measure.answers(scores)
    value = measure.value(answers)
    assert value == pytest.approx(expected / symbols, abs=1e-12)
    better = measure.answers([np.eye(5)[np.zeros_like(each.argmax(-1))] for each in scores])
    loss = measure.loss(measure.value(better), value)
    assert measure.value(better) == 1.0  # nothing decoded: every symbol is missing
    assert loss == pytest.approx(1.0 - value, abs=1e-12)
    estimate = measure.estimate(better, answers)
    assert estimate is not None
    assert estimate.low < loss < estimate.high
    assert (estimate.count, estimate.unit) == (90, "sequences")
    same = measure.estimate(answers, answers)
    assert same is not None
    assert 0.03 < same.high < 0.06  # 90 sequences, none of which changed


def test_one_sequence_and_another_blank() -> None:
    scores = np.eye(3)[[2, 0, 0, 2, 1, 1]]
    targets = [np.array([[0, 1]])]
    measure = CtcErrorRate(Labelling("ctc_error_rate", "y", 1, blank=2), targets)
    assert measure.value(measure.answers([scores])) == 0.0
    measure = CtcErrorRate(Labelling("ctc_error_rate", "y", 1, blank=0), [np.array([[2, 1, 1]])])
    assert measure.value(measure.answers([scores])) == pytest.approx(1 / 3)
    assert "no symbol" in str(
        CtcErrorRate(Labelling("ctc_error_rate", "y", 1), [np.full((2, 3), -1)]).missing()
    )
