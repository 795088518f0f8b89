"""Quality of a graph's file on held-out runs, and budgets that nothing could be shown to keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isslim.compress.errors import NothingToEvaluate
from isslim.compress.kinds.graphs.quality_metrics import OutputMetric, refuse_unevaluated
from isslim.compress.kinds.graphs.running import outputs_of, temporary_file
from isslim.compress.kinds.graphs.understanding import understood
from isslim.runtime.graphs.recorded_inputs import GraphSession
from isslim.types.recipe import Budget, Recipe
from tests.compress.kinds.graphs.models import inputs, layer_graph


def metric_of(path: Path, name: str, count: int) -> OutputMetric:
    runs = inputs(count)
    return OutputMetric(name, runs, outputs_of(GraphSession(path), runs), ["y"], {"y": 2})


def test_change_is_of_the_files_outputs_on_the_runs(tmp_path: Path) -> None:
    path = layer_graph(tmp_path)
    _, network = understood(path)
    metric = metric_of(path, "output_change", 20)
    assert metric.quality(path).loss == 0.0
    nothing = {axis: np.zeros(0, np.int64) for axis in network.declaration().axes}
    with temporary_file(network.masked_reference(nothing)) as masked:
        found = metric.quality(masked)
        runs = inputs(20)
        whole, silent = (
            np.concatenate([each["y"] for each in outputs_of(GraphSession(file), runs)])
            for file in (path, masked)
        )
    expected = np.sqrt(np.square(silent - whole).mean() / whole.astype(np.float64).var())
    assert found.loss == pytest.approx(expected, rel=1e-4)
    assert found.estimate is not None
    assert found.estimate.low < expected < found.estimate.high
    assert not masked.exists()


def test_a_decision_has_a_class_axis_and_a_difference_none(tmp_path: Path) -> None:
    path = layer_graph(tmp_path)
    assert metric_of(path, "argmax", 5).evaluated_outputs == {"y": 2}
    assert metric_of(path, "cosine", 5).evaluated_outputs == {"y": 2}
    assert metric_of(path, "mean_squared_error", 5).evaluated_outputs == {"y": None}


def test_a_budget_of_quality_needs_held_out_data_or_a_command() -> None:
    recipe = Recipe(budget=Budget(output_change=0.1))
    refuse_unevaluated(recipe, None)
    refuse_unevaluated(Recipe(budget=Budget(size_ratio=0.5)), "one run was sent")
    with pytest.raises(NothingToEvaluate, match="one run was sent"):
        refuse_unevaluated(recipe, "one run was sent")


def test_a_budget_below_what_the_data_can_show_is_refused_unless_that_is_accepted(
    tmp_path: Path,
) -> None:
    metric = metric_of(layer_graph(tmp_path), "argmax", 5)  # 90 decisions
    sure = Budget(output_change=0.001, confident=True)
    with pytest.raises(NothingToEvaluate, match="no model could be shown to keep to it"):
        metric.refuse_unsure(sure)
    metric.refuse_unsure(sure.model_copy(update={"confident": False}))
    metric.refuse_unsure(Budget(size_ratio=0.5))
    metric.refuse_unsure(Budget(output_change=0.2, confident=True))
