"""Convolutions take 8 bits where the clock finds that faster and the budget is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.measurement.int8_choice import GAIN, Int8Choice, write_int8
from isslim.compress.measurement.scans import TRIES
from isslim.compress.onnx.normalise.preparing import PreparedGraph
from isslim.runtime.graphs.recorded_inputs import GraphSession, write_runs
from isslim.runtime.latency import time_in_turn
from isslim.runtime.shape import Shape
from isslim.types.manifest import LatencyRecord
from isslim.types.recipe import Budget, Recipe
from tests.runtime.made_up_time import UNIT, MadeUpTime, in_turn
from tests.tagger import export

BEFORE = 64
"""Units of time that a run takes without int8 convolutions."""


class Listener(nn.Module):
    """x (B, 8, T) through convolutions and an LSTM to y (B, T, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = nn.Sequential(
            nn.Conv1d(8, 16, 3, padding=1), nn.BatchNorm1d(16), nn.ReLU(),
            nn.Conv1d(16, 8, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.layer, self.said = nn.LSTM(8, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.said(self.layer(self.heard(x).transpose(1, 2))[0])  # type: ignore[no-any-return]


class TimedByHand(GraphTask):
    """A graph whose runs take as many units of made-up time as a test says, in turn.

    Attributes:
        after: of the graph with int8 convolutions, while `BEFORE` is that of the one without.
        compared: names of what was compared.
        worse: what quality loses by int8 convolutions, beside what is measured.
    """

    after: tuple[float, ...] = (32,)
    worse = 0.0
    compared: list[list[str]]

    def compare(
        self, paths: Mapping[str, Path], shape: Shape, pairs: int | None = None
    ) -> dict[str, LatencyRecord]:
        self.compared.append([*paths])
        assert not holds(paths["original"])
        assert holds(paths["convolutions"])
        time = MadeUpTime()
        runs = {"original": time.call(BEFORE * UNIT), "convolutions": in_turn(time, self.after)}
        sessions = {name: GraphSession(path) for name, path in paths.items()}
        return time_in_turn(runs, sessions, (1, 1), pairs=pairs, time=time)

    def measure(self, path: Path) -> dict[str, float]:
        found = super().measure(path)
        return {name: value + self.worse * holds(path) for name, value in found.items()}

    def estimate(self, path: Path, original: Path) -> None:
        """None: the measured value decides."""


def holds(path: Path) -> bool:
    """Whether the weights of a graph's convolutions are dequantized."""
    graph = onnx.load(path).graph
    made = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return any(node.op_type == "Conv" and node.input[1] in made for node in graph.node)


def task_of(folder: Path, recipe: Recipe, module: nn.Module) -> TimedByHand:
    example, axes = torch.zeros(1, 8, 10), {0: "batch", 2: "steps"}
    free = {"x": axes, "y": {0: "batch", 1: "steps"}}
    path = export(module.eval(), (example,), folder / "graph.onnx", ["x"], ["y"], free)
    draw = np.random.default_rng(0)
    runs = [{"x": draw.normal(size=(2, 8, 10 + n % 3)).astype(np.float32)} for n in range(20)]
    write_runs(folder / "runs.npz", runs)
    task = TimedByHand(PreparedGraph(path), recipe, folder / "runs.npz", None)
    task.compared = []
    return task


def chosen(folder: Path, task: TimedByHand) -> Int8Choice:
    paths = [folder / f"{name}.onnx" for name in ("original", "int8", "original")]
    task.export(task.original, paths[0])
    return write_int8(task, task.original, *paths)


RECIPE = Recipe(budget=Budget(output_change=0.2))


@pytest.mark.parametrize(
    ("after", "taken", "remark"),
    [
        ((32,), True, "with convolutions in 8 bits 2.00 times as fast as without"),
        ((BEFORE,), False, "with convolutions in 8 bits 1.00 times as fast: they stay float32"),
        (
            (BEFORE / (GAIN - 0.02),),
            False,
            "with convolutions in 8 bits 1.01 times as fast: they stay float32",
        ),
        ((96,), False, "with convolutions in 8 bits 0.67 times as fast: they stay float32"),
        ((8, 56), False, "whether convolutions are faster in 8 bits could not be timed"),
    ],
)
def test_the_clock_decides(
    after: tuple[float, ...], taken: bool, remark: str, tmp_path: Path
) -> None:
    task = task_of(tmp_path, RECIPE, Listener())
    task.after = after
    found = chosen(tmp_path, task)
    assert task.compared == [["original", "convolutions"]] * (TRIES if len(after) > 1 else 1)
    assert holds(tmp_path / "int8.onnx") == taken
    assert found.eight_bit.convolutions == taken
    listed = found.eight_bit.parts if taken else found.eight_bit.rest
    assert "convolutions" in listed
    assert found.remark == remark
    assert found.description is not None
    assert found.description.endswith(f"; {remark}")
    assert ("; convolutions calibrated on " in found.description) == taken
    outputs = [
        GraphSession(tmp_path / f"{name}.onnx").run(run)["y"]
        for name in ("int8", "original")
        for run in task.runs.held_out
    ]
    for ours, whole in zip(outputs[: len(outputs) // 2], outputs[len(outputs) // 2 :], strict=True):
        assert np.linalg.norm(ours - whole) < 0.1 * np.linalg.norm(whole)
    assert not [*tmp_path.glob("int8-*")]


@pytest.mark.parametrize(("worse", "taken"), [(0.0, True), (0.15, True), (0.21, False)])
def test_beyond_the_budget_they_stay_float32(worse: float, taken: bool, tmp_path: Path) -> None:
    task = task_of(tmp_path, RECIPE, Listener())
    task.worse = worse
    found = chosen(tmp_path, task)
    assert holds(tmp_path / "int8.onnx") == taken
    if not taken:
        assert found.remark.startswith(
            "with convolutions in 8 bits 2.00 times as fast at a change of outputs of 2"
        )
        assert found.remark.endswith("%, beyond the budget: they stay float32")
        assert found.eight_bit.parts == ["recurrent layers", "matrix products"]


def test_of_a_budget_of_size_the_usual_loss_is_the_limit(tmp_path: Path) -> None:
    task = task_of(tmp_path, Recipe(budget=Budget(size_ratio=0.5)), Listener())
    task.worse = 0.05
    assert not chosen(tmp_path, task).eight_bit.convolutions
    task.worse = 0.0
    assert chosen(tmp_path, task).eight_bit.convolutions


def test_a_range_that_fits_better_is_taken(tmp_path: Path) -> None:
    class Picky(TimedByHand):
        """Everything but the whole range loses the budget."""

        seen = 0

        def quick_loss(self, path: Path) -> float | None:
            if not holds(path):
                return 0.0
            self.seen += 1
            return 0.0 if self.seen == 3 else 0.2

    task = task_of(tmp_path, RECIPE, Listener())
    task.__class__ = Picky
    found = chosen(tmp_path, task)
    assert found.form is not None
    assert "convolutions calibrated on all values in recorded runs" in str(found.description)


def test_without_convolutions_nothing_is_tried(tmp_path: Path) -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.said = nn.LSTM(8, 12, batch_first=True), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.said(self.layer(x.transpose(1, 2))[0])  # type: ignore[no-any-return]

    task = task_of(tmp_path, RECIPE, Plain())
    found = chosen(tmp_path, task)
    assert task.compared == []
    assert (found.remark, found.eight_bit.rest) == ("", [])
    assert found.form is not None
    assert found.description == found.form.description
