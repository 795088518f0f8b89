"""What is said of a distillation by its figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from isslim.compress.kinds.graphs.distilling.remarks import recordings_needed, remark
from tests.compress.kinds.graphs.distilling.made import STEPS, UNITS, task_of


def test_recordings_are_lacking_where_little_is_won_on_others() -> None:
    line = remark((0.2, 0.2), (0.05, 0.14), "24 sequences")
    assert line is not None
    assert "from 20.0% to 14.0% on recordings that were held back" in line
    assert "from 20.0% to 5.0% on those that it learnt from (24 sequences)" in line
    assert "recordings are what is lacking" in line
    assert line.endswith("about 5.0%")


def test_where_as_much_is_won_on_others_more_would_give_little() -> None:
    line = remark((0.22, 0.16), (0.11, 0.085), "160 sequences")
    assert line is not None
    assert line.endswith("more recordings would give little")


@pytest.mark.parametrize("after", [0.2, 0.21])
def test_nothing_is_said_where_nothing_was_won(after: float) -> None:
    assert remark((0.2, 0.2), (0.1, after), "24 sequences") is None


@pytest.mark.parametrize(("count", "is_enough"), [(4, False), (40, True)])
def test_how_many_recordings_would_do_is_told_by_the_rows_that_they_hold(
    count: int, *, is_enough: bool, tmp_path: Path
) -> None:
    task = task_of(tmp_path, count)
    line = recordings_needed(task.collect_activations(lambda done, message: None), count)
    if is_enough:
        assert line is None
        return
    wanted = 10 * UNITS // STEPS  # ten rows for each input of the widest site
    assert line is not None
    assert f": {wanted} like the {count} that are fitted to would do, beside" in line
    assert line in task.notes()
