"""What graphs lose of their outputs, by which the sizes of their axes are chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isslim.compress.kinds.graphs.parts import parameters_of
from isslim.compress.kinds.graphs.probing import WAITING, OutputLoss
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.kinds.graphs.understanding import graph_file
from isslim.compress.onnx.model.split_model import split_constants
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import read_graph
from isslim.compress.progress import Progress
from isslim.compress.pruning import axes
from isslim.compress.pruning.narrow import insert
from isslim.compress.search import ablation
from isslim.compress.search.ablation import may_be_ablated
from isslim.compress.search.closed_form import ClosedForm
from isslim.runtime.graphs.recorded_inputs import GraphSession, write_runs
from isslim.types.recipe import Budget, Recipe
from tests.compress.kinds.graphs.models import layer_graph, twin_graph
from tests.tagger import export, recorded, tagger_graph


def task_of(
    folder: Path, graph: Path, runs: list[dict[str, np.ndarray]], **asked: object
) -> GraphTask:
    samples = folder / "recorded.npz"
    write_runs(samples, runs)
    recipe = Recipe.model_validate({"budget": Budget(output_change=0.2), **asked})
    return GraphTask(graph_file(graph, None), recipe, samples, None)


def noise(count: int, *shape: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(count)]


def test_a_loss_is_the_squared_relative_change_of_the_outputs(tmp_path: Path) -> None:
    path, runs = layer_graph(tmp_path), noise(6, 2, 20, 6)
    graph, network = GraphSession(path), GraphNetwork.from_model(read_graph(path))
    loss = OutputLoss.on(graph, runs, ["y"])
    assert loss.of(network) < 1e-10
    arrays = network.arrays()
    small = network.rebuilt({name: 0.9 * value for name, value in arrays.items()})
    (tmp_path / "small.onnx").write_bytes(small.model().SerializeToString())
    found = [GraphSession(tmp_path / "small.onnx").run(run)["y"] for run in runs]
    wanted = [graph.run(run)["y"] for run in runs]
    error = sum(np.square(a - b).sum() for a, b in zip(found, wanted, strict=True))
    spread = np.square(np.stack(wanted) - np.mean(wanted)).sum()
    assert loss.of(small) == pytest.approx(error / spread, rel=1e-4)


def test_a_graph_whose_runs_take_too_long_is_not_tried_unit_by_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(tmp_path, layer_graph(tmp_path), noise(6, 2, 20, 6))
    assert may_be_ablated(task)
    seconds, units = task.calibration_seconds(), sum(task.original.declaration().axes.values())
    assert seconds is not None
    monkeypatch.setattr(ablation, "MAX_SECONDS", seconds * units / (1.01 * ablation.DOUBT))
    assert not may_be_ablated(task)
    assert "_calibration_metric" not in vars(task)  # nothing was evaluated for that
    task.costly = True
    assert task.calibration_seconds() is None
    assert not may_be_ablated(task)


def test_no_narrow_layer_stands_where_no_evaluated_output_depends_on_it(tmp_path: Path) -> None:
    task = task_of(tmp_path, twin_graph(tmp_path), noise(40, 1, 20, 6))
    everywhere = [place.axis for place in task.original.narrow_places()]
    found = [place.axis for place in task.narrow_places(task.original)]
    assert len(everywhere) == 4
    assert found == ["rank:input of /seen/LSTM", "rank:input of /one/MatMul"]
    task.save_own = lambda network, folder: None  # a module of the caller has room for none
    assert task.narrow_places(task.original) == ()


def test_the_work_of_a_recurrence_waits_in_runs_of_many_steps(tmp_path: Path) -> None:
    task = task_of(tmp_path, layer_graph(tmp_path), noise(8, 1, 20, 6))
    declaration = task.original.declaration()
    assert task.work(declaration) == axes.mult_adds(declaration)  # nothing is known of steps yet
    task.collect_activations(lambda done, message: None)
    assert task.steps == 20
    recurrent = 4 * 12 * 12
    counted = axes.mult_adds(declaration) + (WAITING - 1) * recurrent
    assert task.work(declaration) == pytest.approx(counted)
    place = task.original.narrow_places()[0]
    _, wider = insert(task.original.arrays(), declaration, place)
    # A narrow layer as wide as what it reads costs its own matrix and the dispatch of a product.
    assert task.work(wider) > counted + axes.mult_adds(wider) - axes.mult_adds(declaration) + 1000


def test_the_work_of_a_matrix_counts_as_often_as_it_is_applied(tmp_path: Path) -> None:
    class Summary(nn.Module):
        """What is said of the last step alone."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.said = nn.LSTM(6, 12, batch_first=True), nn.Linear(12, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.said(self.layer(x)[0][:, -1])  # type: ignore[no-any-return]

    torch.manual_seed(0)
    free = {"x": {0: "batch", 1: "steps"}, "y": {0: "batch"}}
    example = (torch.zeros(2, 20, 6),)
    graph = export(Summary(), example, tmp_path / "graph.onnx", ["x"], ["y"], free)
    task = task_of(tmp_path, graph, noise(8, 2, 20, 6))
    task.collect_activations(lambda done, message: None)
    assert task.steps == 40  # of both sequences
    layer, recurrence, said = 4 * 12 * 6, 4 * 12 * 12, 5 * 12
    counted = layer + WAITING * recurrence + said / 20
    assert task.work(task.original.declaration()) == pytest.approx(counted)


def test_a_budget_of_change_allows_its_square_and_one_of_decisions_a_typical_one(
    tmp_path: Path,
) -> None:
    task = task_of(tmp_path, layer_graph(tmp_path), noise(8, 1, 20, 6))
    assert task.probe_limit(0.2) == pytest.approx(0.04)
    task.metric = "argmax"
    assert task.probe_limit(0.2) == pytest.approx(0.01)


def test_directions_are_chosen_beside_units_and_both_are_proven(tmp_path: Path) -> None:
    graph = tagger_graph(tmp_path)
    found = {}
    for ranks in (False, True):
        asked = {"budget": Budget(size_ratio=0.7), "ranks": ranks}
        task = task_of(tmp_path, graph, recorded(20), **asked)
        search = ClosedForm(task, tmp_path / f"work-{ranks}", Progress())
        found[ranks] = search.search()
        network = search.network(found[ranks])
        narrow = network.declaration().narrow
        assert bool(narrow) == ranks
        check = found[ranks].check
        assert ("narrow layers multiplied out" in check.detail) == ranks
        assert check.error <= check.tolerance
        # What is counted is what the file holds.
        held = split_constants(network.model()).constants
        weights = sum(value.size for value in held.values() if value.dtype == np.float32)
        counted = parameters_of(task.original, network.declaration())
        assert counted == pytest.approx(weights, rel=0.01)
        parts = task.parts(network.declaration())
        assert sum(part.parameters for part in parts) == counted
        assert sum(part.mult_adds for part in parts) == axes.mult_adds(network.declaration())
    losses = [found[ranks].outcome.quality for ranks in (False, True)]
    assert all(each is not None for each in losses)
