"""AUC and squared errors against plain loops, and intervals of how far they change."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.kinds.graphs.targets.labelling import Labelling
from isslim.compress.kinds.graphs.targets.scoring import Auc, SquaredError, placements
from tests.compress.kinds.graphs.targets import slow


def drawn(
    runs: int, rows: int, seed: int = 0
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.int64]]]:
    """Scores with ties, and targets, some of them absent."""
    generator = np.random.default_rng(seed)
    targets = [(generator.random(rows) < 0.3).astype(np.int64) for _ in range(runs)]
    scores = [np.round(generator.standard_normal(rows) + each, 1) for each in targets]
    for each in targets:
        each[generator.random(rows) < 0.1] = -1
    return scores, targets


def both(
    scores: list[NDArray[np.float64]], targets: list[NDArray[np.int64]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All places with a target."""
    known = np.concatenate(targets) >= 0
    return np.concatenate(scores)[known], np.concatenate(targets)[known]


def test_auc_is_that_of_all_pairs() -> None:
    scores, targets = drawn(5, 30)
    measure = Auc(Labelling("auc", "y", 0), targets)
    all_scores, wanted = both(scores, targets)
    expected = slow.auc(all_scores.tolist(), wanted.tolist())
    assert measure.value(measure.answers(scores)) == pytest.approx(expected, abs=1e-12)
    found = placements(all_scores, wanted == 1)
    for each in (wanted == 1, wanted == 0):
        assert found[each].mean() == pytest.approx(expected, abs=1e-12)


def test_two_numbers_score_by_the_second_less_the_first() -> None:
    generator = np.random.default_rng(2)
    logits, targets = [generator.standard_normal((60, 2))], [generator.integers(0, 2, 60)]
    measure = Auc(Labelling("auc", "y", 1), targets)
    odds = np.exp(logits[0]) / np.exp(logits[0]).sum(1, keepdims=True)
    expected = slow.auc(odds[:, 1].tolist(), targets[0].tolist())
    for outputs in (logits, [odds], [np.log(odds)]):
        assert measure.value(measure.answers(outputs)) == pytest.approx(expected, abs=1e-12)
    one = Auc(Labelling("auc", "y", 1), targets)
    assert one.value(one.answers([odds[:, 1:]])) == pytest.approx(expected, abs=1e-12)


def test_the_interval_of_auc_is_that_of_drawn_rows() -> None:
    scores, targets = drawn(1, 600)
    generator = np.random.default_rng(3)
    worse = [each + 0.8 * generator.standard_normal(each.shape) for each in scores]
    measure = Auc(Labelling("auc", "y", 0), targets)
    ours, whole = measure.answers(worse), measure.answers(scores)
    estimate = measure.estimate(ours, whole)
    assert estimate is not None
    loss = measure.loss(measure.value(ours), measure.value(whole))
    assert estimate.low < loss < estimate.high
    assert (estimate.count, estimate.unit) == (len(ours[0]), "rows")
    wanted = both(scores, targets)[1]
    falls = []
    for _ in range(60):
        rows = generator.integers(0, len(wanted), len(wanted))
        falls.append(
            slow.auc(whole[0][rows].tolist(), wanted[rows].tolist())
            - slow.auc(ours[0][rows].tolist(), wanted[rows].tolist())
        )
    # 95 % of a normal distribution of that standard deviation.
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * np.std(falls), rel=0.5)


def test_auc_of_a_perfect_order_is_as_sure_as_its_rarer_class() -> None:
    targets = [np.random.default_rng(5).permutation([1] * 40 + [0] * 400)]
    scores = [targets[0] + 0.001 * np.arange(440)]
    measure = Auc(Labelling("auc", "y", 0), targets)
    answers = measure.answers(scores)
    estimate = measure.estimate(answers, [2 * each for each in answers])
    assert estimate is not None
    assert 0.05 < estimate.high < 0.12  # of 40 cases, none of which changed


def test_auc_needs_two_classes_and_numbers() -> None:
    for wanted in (0, 1):
        measure = Auc(Labelling("auc", "y", 0), [np.full(9, wanted)])
        assert f"hold class {wanted} alone" in str(measure.missing())
    assert "hold no target" in str(Auc(Labelling("auc", "y", 0), [np.full(9, -1)]).missing())
    measure = Auc(Labelling("auc", "y", 0), [np.array([0, 1] * 20)])
    answers = measure.answers([np.full(40, np.nan)])
    assert np.isnan(measure.value(answers))
    assert measure.estimate(answers, measure.answers([np.arange(40.0)])) is None


def test_squared_error_is_relative_to_the_originals() -> None:
    generator = np.random.default_rng(4)
    targets = [generator.standard_normal((2, 3 + run, 4)).astype("f") for run in range(30)]
    outputs = [each + 0.3 * generator.standard_normal(each.shape) for each in targets]
    worse = [each + 0.1 * generator.standard_normal(each.shape) for each in outputs]
    measure = SquaredError(Labelling("target_squared_error", "y", 2), targets)
    assert measure.missing() is None
    ours, whole = measure.answers(worse), measure.answers(outputs)
    values = []
    for outputs_, answers in ((worse, ours), (outputs, whole)):
        squares = [
            (float(a) - float(b)) ** 2
            for one, other in zip(outputs_, targets, strict=True)
            for a, b in zip(one.ravel(), other.ravel(), strict=True)
        ]
        values.append(sum(squares) / len(squares))
        assert measure.value(answers) == pytest.approx(values[-1], rel=1e-9)
    loss = measure.loss(*values)
    assert loss == pytest.approx(values[0] / values[1] - 1, rel=1e-9)
    estimate = measure.estimate(ours, whole)
    assert estimate is not None
    assert estimate.low < loss < estimate.high
    assert (estimate.count, estimate.unit) == (sum(2 * (3 + run) for run in range(30)), "rows")
    broken = measure.answers([each * np.inf for each in outputs])
    assert not np.isfinite(measure.value(broken))
    assert measure.estimate(broken, whole) is None
