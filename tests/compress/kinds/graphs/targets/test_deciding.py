"""Accuracy and F1 against plain loops, and intervals of how far they fall."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.kinds.graphs.targets.deciding import F1, Accuracy
from isslim.compress.kinds.graphs.targets.labelling import Labelling
from tests.compress.kinds.graphs.targets import slow

METRICS = {"accuracy": Accuracy, "f1_macro": F1, "f1_binary": F1}


def drawn(
    runs: int, rows: int, classes: int, seed: int = 0
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.int64]]]:
    """Scores (rows, classes) that are somewhat right, and targets (rows,), some of them absent."""
    generator = np.random.default_rng(seed)
    targets = [generator.integers(0, classes, rows) for _ in range(runs)]
    scores = [
        (generator.standard_normal((rows, classes)) + 1.5 * np.eye(classes)[each]).astype(
            np.float32
        )
        for each in targets
    ]
    for each in targets:
        each[generator.random(rows) < 0.1] = -1
    return scores, targets


def flat(
    scores: list[NDArray[np.float32]], targets: list[NDArray[np.int64]]
) -> tuple[list[int], list[int]]:
    """Decisions and targets of all places that have one."""
    pairs = [
        (int(np.argmax(row)), int(wanted))
        for each, own in zip(scores, targets, strict=True)
        for row, wanted in zip(each, own, strict=True)
        if wanted >= 0
    ]
    return [one for one, _ in pairs], [other for _, other in pairs]


@pytest.mark.parametrize(("name", "classes"), [("accuracy", 5), ("f1_macro", 5), ("f1_binary", 2)])
def test_a_metric_of_decisions_is_that_of_plain_loops(name: str, classes: int) -> None:
    scores, targets = drawn(7, 40, classes)
    measure = METRICS[name](Labelling(name, "y", 1), targets)
    decisions, wanted = flat(scores, targets)
    expected = {
        "accuracy": slow.accuracy(decisions, wanted),
        "f1_macro": slow.f1_macro(decisions, wanted),
        "f1_binary": slow.f1_of(decisions, wanted, 1),
    }[name]
    found = measure.value(measure.answers(scores))
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0.4 < found < 0.98
    assert measure.count == len(wanted)
    assert measure.loss(found - 0.1, found) == pytest.approx(0.1, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(("runs", "rows"), [(40, 30), (3, 400)])
def test_the_interval_is_of_the_difference_on_the_same_rows(
    name: str, runs: int, rows: int
) -> None:
    scores, targets = drawn(runs, rows, 2)
    generator = np.random.default_rng(1)
    worse = [each + 0.6 * generator.standard_normal(each.shape).astype("f") for each in scores]
    measure = METRICS[name](Labelling(name, "y", 1), targets)
    ours, whole = measure.answers(worse), measure.answers(scores)
    estimate = measure.estimate(ours, whole)
    assert estimate is not None
    loss = measure.loss(measure.value(ours), measure.value(whole))
    assert estimate.low < loss < estimate.high
    assert (estimate.count, estimate.unit) == (measure.count, "decisions")
    # Rows drawn one by one, for both alike; blocks of independent rows give the same width.
    of_rows = [flat(each, targets) for each in (worse, scores)]
    wanted = np.array(of_rows[0][1])
    decisions = [np.array(each) for each, _ in of_rows]
    falls = []
    for _ in range(400):
        rows_ = generator.integers(0, len(wanted), len(wanted))
        one, other = (
            {
                "accuracy": slow.accuracy,
                "f1_macro": slow.f1_macro,
                "f1_binary": lambda a, b: slow.f1_of(a, b, 1),
            }[name](each[rows_].tolist(), wanted[rows_].tolist())
            for each in decisions
        )
        falls.append(other - one)
    low, high = np.quantile(falls, [0.025, 0.975])
    assert (estimate.high - estimate.low) / (high - low) == pytest.approx(1.0, rel=0.6)


def test_an_unchanged_model_has_an_interval_as_wide_as_its_sample_is_small() -> None:
    for name, rows, most in (("accuracy", 1000, 0.005), ("f1_binary", 1000, 0.02)):
        scores, targets = drawn(1, rows, 2)
        measure = METRICS[name](Labelling(name, "y", 1), targets)
        answers = measure.answers(scores)
        estimate = measure.estimate(answers, answers)
        assert estimate is not None
        assert 0.001 < estimate.high < most
        assert estimate.low == -estimate.high


def test_a_class_without_targets_counts_as_an_error_and_not_as_a_class() -> None:
    targets = [np.array([0, 0, 1, 1, 0, 1])]
    scores = [np.eye(3, dtype=np.float32)[[0, 2, 1, 1, 0, 2]]]
    measure = F1(Labelling("f1_macro", "y", 1), targets)
    assert measure.value(measure.answers(scores)) == pytest.approx(0.8, abs=1e-12)


def test_numbers_are_decided_at_the_threshold_and_what_is_none_is_wrong() -> None:
    targets = [np.array([[1, 0, 1, -1, 0]])]
    output = [np.array([[0.6, 0.4, 0.2, 0.9, np.nan]], np.float32)]
    for threshold, expected in ((None, 0.5), (0.1, 0.5), (0.5, 0.5), (0.3, 0.25)):
        measure = Accuracy(Labelling("accuracy", "y", 1, threshold), targets)
        assert measure.value(measure.answers(output)) == pytest.approx(expected, abs=1e-12)
    whole = [np.array([[1, 0, 0, 3, 0]])]  # whole numbers are decisions themselves
    measure = Accuracy(Labelling("accuracy", "y", 1), targets)
    assert measure.value(measure.answers(whole)) == pytest.approx(0.75, abs=1e-12)


def test_targets_without_a_case_are_told() -> None:
    none = [np.full(4, -1)]
    assert "hold no target" in str(Accuracy(Labelling("accuracy", "y", 1), none).missing())
    zeros = [np.zeros(4, np.int64)]
    assert "no case of class 1" in str(F1(Labelling("f1_binary", "y", 1), zeros).missing())
    assert F1(Labelling("f1_macro", "y", 1), zeros).missing() is None


def test_too_few_rows_have_no_interval() -> None:
    scores, targets = drawn(1, 5, 2)
    for name, kind in METRICS.items():
        measure = kind(Labelling(name, "y", 1), targets)
        answers = measure.answers(scores)
        assert measure.estimate(answers, answers) is None


@pytest.mark.parametrize("name", METRICS)
def test_windows_of_a_stream_are_cut_into_blocks_as_one_run(name: str) -> None:
    """As many short windows as make a long run have the interval of that run."""
    scores, targets = drawn(3, 400, 2)
    worse = [0.5 * each + np.roll(each, 1, axis=0) for each in scores]  # errors of neighbours
    long = METRICS[name](Labelling(name, "y", 1), targets)
    windows = [list(np.concatenate(each).reshape(300, 4, -1)) for each in (scores, worse)]
    short = METRICS[name](
        Labelling(name, "y", 1), list(np.concatenate(targets).reshape(300, 4)), [100] * 3
    )
    expected = long.estimate(long.answers(worse), long.answers(scores))
    assert expected is not None
    assert short.estimate(short.answers(windows[1]), short.answers(windows[0])) == expected
