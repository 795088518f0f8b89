"""Targets of all runs together: one meaning, or a refusal."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.errors import RunsUnusable
from isslim.compress.kinds.graphs.targets.labelling import Labelling
from isslim.compress.kinds.graphs.targets.reading import TargetCheck, as_rows


def test_classes_that_are_marked_instead_of_named_are_refused_unless_it_is_chance() -> None:
    output = np.array([[0.2, 0.8], [0.6, 0.4]], np.float32)
    marked = np.array([[0, 1], [1, 0]])
    check = TargetCheck(Labelling("accuracy", "y", 1))
    check.see("run 0", marked, output)
    with pytest.raises(RunsUnusable, match="marks one class of each row"):
        check.checked()
    check = TargetCheck(Labelling("accuracy", "y", 1))
    check.see("run 0", marked, output)
    check.see("run 1", marked, output + 0.1)  # two probabilities that are independent
    assert check.checked() == Labelling("accuracy", "y", 1)


def test_targets_of_different_numbers_of_dimensions_are_refused() -> None:
    check = TargetCheck(Labelling("accuracy", "y", 1))
    output = np.zeros((3, 1), np.float32)
    check.see("run 0", np.zeros((3, 1), np.int64), output)
    check.see("run 1", np.zeros(3, np.int64), output)
    with pytest.raises(RunsUnusable, match="different numbers of dimensions"):
        check.checked()


def test_sequences_are_told_from_steps_by_any_run_that_shows_it() -> None:
    labelling = Labelling("ctc_error_rate", "y", 2)
    check = TargetCheck(labelling)
    check.see("run 0", np.ones((3, 2), np.int64), np.zeros((3, 3, 4), np.float32))
    with pytest.raises(RunsUnusable, match="as many steps as sequences"):
        check.checked()
    check = TargetCheck(labelling)
    for label, shape in (("run 0", (3, 3, 4)), ("run 1", (7, 3, 4))):
        check.see(label, np.ones((3, 2), np.int64), np.zeros(shape, np.float32))
    assert check.checked().sequences == 1


def test_symbols_of_one_sequence_are_rows_and_other_targets_stay() -> None:
    symbols = np.array([1, 2])
    assert as_rows(Labelling("ctc_error_rate", "y", 1), symbols).shape == (1, 2)
    assert as_rows(Labelling("accuracy", "y", 1), symbols) is symbols
    assert as_rows(None, symbols) is symbols
