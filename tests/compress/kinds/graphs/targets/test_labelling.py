"""Which dimension of a target goes with one of its output, and single faults of targets."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.kinds.graphs.targets.labelling import Labelling, sequence_dimension


@pytest.mark.parametrize(
    ("axis", "target", "dimension", "expected"),
    [
        (2, (2, 9), 0, 0),
        (2, (2, 9), 1, 1),
        (2, (2, 9), 2, None),
        (1, (2, 5), 2, 1),
        (-1, (2, 9), 1, 1),
        (2, (2, 9, 5), 2, 2),
    ],
)
def test_a_target_is_divided_where_its_output_is(
    axis: int, target: tuple[int, ...], dimension: int, expected: int | None
) -> None:
    labelling = Labelling("accuracy", "y", axis)
    output = np.zeros((2, 9, 5), np.float32)
    assert labelling.place(np.zeros(target, np.int64), output, dimension) == expected


def test_symbols_are_divided_by_sequences_alone() -> None:
    labelling = Labelling("ctc_error_rate", "y", 2, sequences=1)
    output, target = np.zeros((9, 2, 5), np.float32), np.ones((2, 4), np.int64)
    assert labelling.place(target, output, 1) == 0
    assert labelling.place(target, output, 0) is None


def test_a_threshold_or_probabilities_are_needed_where_numbers_are_decided() -> None:
    target, logits = np.array([[0, 1, -1]]), np.array([[-3.0, 2.5, 0.1]], np.float32)
    assert "name the `threshold`" in str(Labelling("accuracy", "y", 1).issue(target, logits))
    assert Labelling("accuracy", "y", 1, 0.0).issue(target, logits) is None
    assert Labelling("auc", "y", 1).issue(target, logits) is None
    assert Labelling("f1_binary", "y", 1).issue(target, logits.clip(0, 1)) is None
    wrong = Labelling("accuracy", "y", 1, 0.0).issue(target + 1, logits)
    assert wrong == "it holds the class 2: expected 0 to 1, and -1 where there is no target"


def test_whole_numbers_are_decisions_and_no_scores() -> None:
    target = np.array([[0, 3, -1]])
    assert Labelling("accuracy", "y", 1).issue(target, target) is None
    assert "needs scores" in str(Labelling("auc", "y", 1).issue(target, target))
    assert "the class 3" in str(Labelling("f1_binary", "y", 1).issue(target, target))


@pytest.mark.parametrize(
    ("targets", "steps", "expected"),
    [
        ([(2, 4)], [(9, 2)], 1),
        ([(2, 4)], [(2, 9)], 0),
        ([(2, 4)], [(2, 2)], None),
        ([(2, 4), (3, 4)], [(2, 2), (3, 8)], 0),
        ([(1, 4)], [(1, 1)], 0),
        ([(4,)], [(9, 1)], 1),
    ],
)
def test_sequences_lie_where_their_number_fits(
    targets: list[tuple[int, ...]], steps: list[tuple[int, ...]], expected: int | None
) -> None:
    assert sequence_dimension([np.ones(each) for each in targets], steps) == expected
