"""On a graph of few rows: the best of three corrections, and the better of two orders."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from isslim.compress.kinds.registry import UploadedFiles, read_task
from isslim.compress.progress import Progress
from isslim.compress.pruning import axes
from isslim.compress.pruning.moments import ENOUGH_ROWS, shortages
from isslim.compress.pruning.ranking import RemovalPlan, kept_indices, prune, rank_components
from isslim.compress.search.ablation import rank_by_ablation
from isslim.compress.search.budget import find_within_budget
from isslim.runtime.graphs.recorded_inputs import write_runs
from isslim.types.recipe import Budget, Recipe

UNITS = 24


class Denoiser(nn.Module):
    """A wide input, so that a few one-step runs tell little of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(40, UNITS, batch_first=True)
        self.out = nn.Linear(UNITS, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.layer(x)[0])  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, RemovalPlan]:
    folder = tmp_path_factory.mktemp("few")
    torch.manual_seed(3)
    model = Denoiser().eval()
    with torch.no_grad():
        # Some units matter for the outputs far more than for the recurrence.
        model.out.weight[:, ::4] *= 6
        model.out.weight[:, 1::4] *= 0.02
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.randn(1, 2, 40),), folder / "graph.onnx", dynamo=False, opset_version=17,
            input_names=["x"], output_names=["y"],
            dynamic_axes={"x": {0: "b", 1: "t"}, "y": {0: "b", 1: "t"}},
        )  # fmt: skip
    generator = np.random.default_rng(0)
    for name, count in (("calibration", 40), ("held-out", 60)):
        runs = [
            {"x": generator.standard_normal((1, 1, 40)).astype(np.float32)} for _ in range(count)
        ]
        write_runs(folder / f"{name}.npz", runs)
    task = read_task(
        UploadedFiles(
            model=folder / "graph.onnx",
            calibration=folder / "calibration.npz",
            held_out=folder / "held-out.npz",
        ),
        Recipe(budget=Budget(size_ratio=0.7)),
    )
    declaration = task.original.declaration()
    observed = task.collect_activations(lambda done, message: None)
    assert shortages(observed)[0].startswith(
        "only 40 rows of calibration data for the 40 inputs of `"
    )
    assert f"{ENOUGH_ROWS} rows per input" in shortages(observed)[0]
    return task, rank_components(
        task.original.arrays(), declaration, observed, prunable=task.prunable(declaration)
    )


def losses(task, removal_plan: RemovalPlan, share: float) -> dict[str, float]:  # type: ignore[no-untyped-def]
    return {
        each: task.evaluate(task.original.rebuilt(prune(removal_plan, share, each).arrays)).loss
        for each in ("inputs", "means", "nothing")
    }


def test_the_chosen_candidate_is_never_worse_than_with_its_units_at_zero(
    few, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    task, removal_plan = few
    outcome = find_within_budget(removal_plan, task, task.recipe, tmp_path, Progress())
    by = losses(task, removal_plan, outcome.pruned.share)
    assert outcome.quality is not None
    assert outcome.quality.loss == pytest.approx(min(by.values()), abs=1e-9)
    assert outcome.pruned.correction == min(by, key=lambda each: by[each])
    (chosen,) = (point for point in outcome.curve if point.chosen)
    assert (chosen.correction, chosen.loss) == (outcome.pruned.correction, outcome.quality.loss)


def test_more_removed_is_not_better_and_nothing_does_damage(few) -> None:  # type: ignore[no-untyped-def]
    task, removal_plan = few
    found = [losses(task, removal_plan, share) for share in (0.1, 0.3, 0.5, 0.7)]
    for one, other in itertools.pairwise(found):
        assert min(one.values()) <= 1.02 * min(other.values())
    assert all(each["inputs"] <= 1.3 * each["nothing"] for each in found)


def test_units_are_ordered_by_what_becomes_of_the_outputs_without_each(few) -> None:  # type: ignore[no-untyped-def]
    task, removal_plan = few
    tried = rank_by_ablation(removal_plan, task, lambda done, message: None)
    assert tried is not None
    assert sorted(tried.order) == sorted(removal_plan.order)
    # The slow way: one graph of one unit less at a time, on the observed runs, without the code
    # that silences.
    (axis,) = removal_plan.declaration.axes
    slow = {}
    for _, unit in removal_plan.order:
        keep = {axis: np.setdiff1d(np.arange(UNITS), [unit])}
        small, _ = axes.select_components(removal_plan.arrays, removal_plan.declaration, keep)
        slow[unit] = task.calibration_loss(task.original.rebuilt(small))
    wanted = [unit for _, unit in removal_plan.order if slow[unit] is not None]
    wanted.sort(key=lambda unit: slow[unit])
    found = [slow[unit] for _, unit in tried.order]
    np.testing.assert_allclose(found, [slow[unit] for unit in wanted], rtol=1e-3)
    assert kept_indices(tried, 0.3)[1] == pytest.approx(kept_indices(removal_plan, 0.3)[1])
