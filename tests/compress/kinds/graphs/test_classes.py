"""Along which dimension decisions lie, where runs differ from what is known of an output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isslim.compress.errors import RunsUnusable
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.onnx.normalise.preparing import PreparedGraph
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays, write_runs
from isslim.types.recipe import Budget, Recipe
from tests.compress.kinds.graphs.models import FREE, inputs
from tests.tagger import export


class Squeezed(nn.Module):
    """The last step of an LSTM read by a matrix: (B, classes), and (classes,) of one sequence."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer, self.said = nn.LSTM(6, 12, batch_first=True), nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        said = self.said(self.layer(x)[0][:, -1])
        return torch.sigmoid(said).squeeze()


def task_of(folder: Path, model: nn.Module, runs: list[NamedArrays], **options: Any) -> GraphTask:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(1)
    path = folder / "squeezed.onnx"
    export(model, (torch.zeros(2, 20, 6),), path, ["x"], ["y"], {"x": FREE, "y": {0: "batch"}})
    write_runs(folder / "runs.npz", runs)
    recipe = Recipe(budget=Budget(size_ratio=0.9), **options)
    return GraphTask(PreparedGraph(path), recipe, folder / "runs.npz", None)


def mixed(*batches: int) -> list[NamedArrays]:
    """Runs of these numbers of sequences in turn."""
    return [run for seed in range(12) for count in batches for run in inputs(1, count, seed=seed)]


def smaller(task: GraphTask, folder: Path) -> Path:
    """A graph of other answers."""
    arrays = {name: 0.6 * array for name, array in task.original.arrays().items()}
    task.export(task.original.rebuilt(arrays), folder / "smaller.onnx")
    return folder / "smaller.onnx"


def answers(task: GraphTask, path: Path) -> list[list[np.ndarray]]:
    sessions = [GraphSession(each) for each in (path, task.path)]
    return [[each.run(run)["y"] for each in sessions] for run in task.runs.held_out]


@pytest.mark.parametrize("batches", [(1, 2, 3), (1, 1, 1)])
def test_an_output_that_loses_a_dimension_where_there_is_one_sequence_is_compared(
    batches: tuple[int, ...], tmp_path: Path
) -> None:
    runs = mixed(*batches)
    task = task_of(tmp_path, Squeezed(5), runs, metric="argmax")
    assert task.evaluate(task.original).value == 1.0
    small = smaller(task, tmp_path)
    decided = np.concatenate(
        [
            np.atleast_1d(one.argmax(-1) == two.argmax(-1)).ravel()
            for one, two in answers(task, small)
        ]
    )
    assert task.measure(small) == {"argmax": pytest.approx(decided.mean())}
    assert task.origin.evaluated_outputs["y"] == -1


def test_in_a_dimension_of_sequences_there_are_no_classes(tmp_path: Path) -> None:
    runs = mixed(2, 3, 4)
    task = task_of(tmp_path, Squeezed(1), runs, metric="argmax")
    small = smaller(task, tmp_path)
    same = np.concatenate([(one > 0.5) == (two > 0.5) for one, two in answers(task, small)])
    assert task.measure(small) == {"argmax": pytest.approx(same.mean())}
    assert task.origin.evaluated_outputs == {"y": None}


def test_decisions_along_a_dimension_that_runs_do_not_have_are_refused(tmp_path: Path) -> None:
    runs = mixed(1, 2)
    with pytest.raises(RunsUnusable, match=r"y has 1 dimensions on some runs, and 2 are known"):
        task_of(tmp_path, Squeezed(5), runs, metric="argmax", decision_axis=0)
    targets = [run | {"target:y": np.zeros(run["x"].shape[0], np.int64)} for run in runs]
    words = r"the output has 1 dimensions in this run, and its classes lie in dimension 1"
    with pytest.raises(RunsUnusable, match=words) as refused:
        task_of(tmp_path, Squeezed(5), targets, metric="accuracy")
    assert len(refused.value.issues) == 12


class Decided(Squeezed):
    """Scores (B, classes), and the class of each."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        said = self.said(self.layer(x)[0][:, -1])
        return said, said.argmax(1)


def test_decisions_that_are_measured_as_quantities_are_told(tmp_path: Path) -> None:
    torch.manual_seed(1)
    path, outputs = tmp_path / "decided.onnx", ["scores", "class"]
    export(Decided(5), (torch.zeros(2, 20, 6),), path, ["x"], outputs, {"x": FREE})
    write_runs(tmp_path / "runs.npz", inputs(12))

    def warnings(**options: Any) -> str:
        recipe = Recipe(budget=Budget(size_ratio=0.9), **options)
        return str(
            GraphTask(PreparedGraph(path), recipe, tmp_path / "runs.npz", None).origin.warnings
        )

    words = "the output class holds whole numbers or truth values, and `output_change` measures"
    assert words in warnings()
    for options in ({"metric": "argmax"}, {"outputs": ["scores"]}):
        assert "whole numbers" not in warnings(**options)


def test_targets_may_lose_the_dimension_that_their_output_loses(tmp_path: Path) -> None:
    runs = mixed(1, 2, 3)
    path = task_of(tmp_path, Squeezed(1), runs).path
    # What the original says, but of every third run the other.
    said = [GraphSession(path).run(run)["y"] > 0.5 for run in runs]
    labelled = [
        run | {"target:y": np.asarray(said[at] ^ (at % 3 == 0)).astype(np.int64)}
        for at, run in enumerate(runs)
    ]
    task = task_of(tmp_path, Squeezed(1), labelled, metric="accuracy")
    targets = {run["x"].tobytes(): run["target:y"] for run in labelled}
    right = [
        np.ravel((two > 0.5) == targets[run["x"].tobytes()])
        for run, (_, two) in zip(task.runs.held_out, answers(task, task.path), strict=True)
    ]
    assert {each.size for each in right} == {1, 2, 3}
    assert task.evaluate(task.original).value == pytest.approx(np.concatenate(right).mean())
