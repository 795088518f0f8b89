"""A module's graph in the form `same`: layers of one module keep one size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from isslim.compress.errors import ModeUnavailable
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.kinds.graphs.understanding import graph_file
from isslim.compress.modules.export import export_module
from isslim.compress.progress import Progress
from isslim.compress.search.candidates import candidates
from isslim.runtime.graphs.recorded_inputs import write_runs
from isslim.types.recipe import Budget, Recipe
from tests.compress.modules.zoo import EXAMPLES
from tests.tagger import recorded, tagger_graph

SAME = Recipe(name="tagger", budget=Budget(size_ratio=0.7), form="same")


def task_of(path: Path, recipe: Recipe, runs: Path) -> GraphTask:
    return GraphTask(graph_file(path, None), recipe, runs, None)


def test_layers_of_one_module_shrink_alike_in_a_job(tmp_path: Path) -> None:
    example = EXAMPLES["packed tagger"]
    exported = export_module(example.trained(), example.calls(30), tmp_path / "tagger.onnx")
    runs = tmp_path / "runs.npz"
    write_runs(runs, exported.recorded)
    (group,) = task_of(exported.path, SAME, runs).equal_axes()
    assert len(group) == 4
    assert task_of(exported.path, SAME.model_copy(update={"form": "free"}), runs).equal_axes() == []

    candidate = next(candidates(task_of(exported.path, SAME, runs), tmp_path, Progress()))

    axes = candidate.network.declaration().axes
    (size,) = {axes[axis] for axis in group}
    assert size < 12
    small = exported.cut(candidate.network)
    assert small.lstm.hidden_size == size
    # The width of the embedding is no number of that module.
    (width,) = (axes[axis] for axis in axes if axis not in group)
    assert small.embedding.embedding_dim == small.lstm.input_size == width


def test_layer_that_cannot_shrink_leaves_the_others_of_its_module_free(tmp_path: Path) -> None:
    class Open(torch.nn.Module):
        """The last layer's outputs are the result."""

        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(3, 6, 2)

        def forward(self, series: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.lstm(series)[0]
            return made

    torch.manual_seed(0)
    calls = [torch.randn(4 + index % 3, 2, 3) for index in range(20)]
    exported = export_module(Open().eval(), calls, tmp_path / "open.onnx")
    runs = tmp_path / "runs.npz"
    write_runs(runs, exported.recorded)
    task = task_of(exported.path, SAME, runs)
    assert len(task.original.declaration().axes) == 1
    assert task.equal_axes() == []


def test_graph_that_says_nothing_of_modules_has_no_such_form(tmp_path: Path) -> None:
    runs = tmp_path / "runs.npz"
    write_runs(runs, recorded(20))
    with pytest.raises(ModeUnavailable, match="does not say which of its layers were one module"):
        task_of(tagger_graph(tmp_path), SAME, runs).equal_axes()
