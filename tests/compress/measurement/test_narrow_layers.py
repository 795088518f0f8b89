"""Narrow layers of a graph stay where the clock does not find it surely faster without them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from isslim.compress.contract import Candidate
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.kinds.graphs.understanding import graph_file
from isslim.compress.measurement.narrow_layers import MULTIPLIED_OUT, quicker
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.pruning.axes import select_components
from isslim.compress.pruning.narrow import insert
from isslim.runtime.graphs.recorded_inputs import GraphSession
from isslim.runtime.latency import time_in_turn
from isslim.runtime.shape import Shape, usual_size
from isslim.types.manifest import LatencyRecord
from isslim.types.recipe import Budget, Recipe
from tests.compress.kinds.graphs.models import layer_graph
from tests.compress.onnx.proving import run
from tests.runtime.made_up_time import MadeUpTime, in_turn


class TimedByHand(GraphTask):
    """A graph whose runs take as many units of made-up time as a test says, in turn.

    Attributes:
        narrow, plain: of the runs with narrow layers, and of those without.
        compared: operators of the graphs that were timed.
    """

    narrow: tuple[float, ...] = (8,)
    plain: tuple[float, ...] = (8,)
    compared: dict[str, list[str]]

    def compare(
        self, paths: Mapping[str, Path], shape: Shape, pairs: int | None = None
    ) -> dict[str, LatencyRecord]:
        self.compared = {
            name: [node.op_type for node in onnx.load(path).graph.node]
            for name, path in paths.items()
        }
        time = MadeUpTime()
        runs = {"original": in_turn(time, self.narrow), "plain": in_turn(time, self.plain)}
        sessions = {name: GraphSession(path) for name, path in paths.items()}
        return time_in_turn(runs, sessions, usual_size(shape), pairs=pairs, time=time)


def task_of(folder: Path, **asked: object) -> TimedByHand:
    recipe = Recipe.model_validate({"budget": Budget(output_change=0.2), **asked})
    return TimedByHand(graph_file(layer_graph(folder), None), recipe, None, None)


def narrowed(task: GraphTask, width: int) -> Candidate[GraphNetwork]:
    """The original with a narrow layer before its LSTM."""
    place, *_ = task.original.narrow_places()
    arrays, declaration = insert(task.original.arrays(), task.original.declaration(), place)
    arrays, _ = select_components(arrays, declaration, {place.axis: np.arange(width)})
    return Candidate(task.original.rebuilt(arrays), {}, [], [], cautions=["as before"])


@pytest.mark.parametrize(
    ("narrow", "plain", "stays"),
    [
        ((8,), (8,), True),
        ((8,), (9,), True),
        ((9,), (8,), False),
        ((7, 9, 7, 9, 9, 7), (8, 8, 7, 9), True),  # not surely
    ],
)
def test_narrow_layers_go_where_the_graph_is_surely_faster_without(
    narrow: tuple[float, ...], plain: tuple[float, ...], stays: bool, tmp_path: Path
) -> None:
    task = task_of(tmp_path)
    task.narrow, task.plain = narrow, plain
    before = narrowed(task, 3)
    found = quicker(task, before, tmp_path)
    assert (found is before) == stays
    assert list(tmp_path.glob("narrow-*")) == []
    products = {name: operators.count("MatMulInteger") for name, operators in task.compared.items()}
    assert products == {"original": 2, "plain": 1}  # with the narrow layer, and without
    if not stays:
        assert found.cautions == ["as before", MULTIPLIED_OUT]
        assert not found.network.declaration().narrow
        x = {"x": np.random.default_rng(0).normal(size=(1, 20, 6)).astype(np.float32)}
        one, other = (run(each.network.model(), x)["y"] for each in (before, found))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_under_a_budget_of_speed_the_float32_graphs_are_timed(tmp_path: Path) -> None:
    task = task_of(tmp_path, budget=Budget(speedup=1.5))
    quicker(task, narrowed(task, 3), tmp_path)
    assert [each.count("LSTM") for each in task.compared.values()] == [1, 1]


def test_nothing_is_timed_where_no_layer_is_narrow_or_size_is_what_counts(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    whole = Candidate(task.original, {}, [], [])
    assert quicker(task, whole, tmp_path) is whole
    small = task_of(tmp_path, budget=Budget(size_ratio=0.5))
    before = narrowed(small, 3)
    assert quicker(small, before, tmp_path) is before
    assert not hasattr(task, "compared")
    assert not hasattr(small, "compared")
