"""A trained tagger with recorded inputs as a task, and a cut of it, for tests of distillation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.kinds.registry import UploadedFiles, read_task
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.pruning.ranking import prune, rank_components
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays, write_runs
from isslim.types.recipe import Budget, Recipe
from tests.tagger import export

WIDTH, UNITS, STEPS = 5, 24, 12


class Follower(nn.Module):
    """Follows sums that fade: x (B, T, WIDTH) to y (B, T, 3), with its states if asked."""

    def __init__(self, *, carried: bool = False) -> None:
        super().__init__()
        self.layer, self.said = nn.GRU(WIDTH, UNITS, batch_first=True), nn.Linear(UNITS, 3)
        self.carried = carried

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        steps, after = self.layer(x, before)
        said = self.said(steps)
        return (said, after) if self.carried else said


def follower(*, carried: bool = False) -> Follower:
    """Trained for a second."""
    torch.manual_seed(0)
    model, generator = Follower(carried=carried), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        x = torch.randn(16, STEPS, WIDTH, generator=generator)
        total = torch.zeros(16, 3)
        sums = [total := 0.7 * total + step[:, :3] * step[:, 1:4] for step in x.unbind(1)]
        wanted = torch.tanh(torch.stack(sums, 1))
        made = model(x)
        loss = nn.functional.mse_loss(made[0] if isinstance(made, tuple) else made, wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


def signals(count: int, seed: int = 0) -> list[NamedArrays]:
    generator = np.random.default_rng(seed)
    return [
        {"x": generator.standard_normal((1, STEPS, WIDTH)).astype(np.float32)} for _ in range(count)
    ]


def streamed(graph: GraphSession, runs: Sequence[NamedArrays]) -> list[NamedArrays]:
    """Recorded as its caller runs it, who begins anew after every four runs."""
    found, state = list[NamedArrays](), np.zeros((1, 1, UNITS), np.float32)
    for place, run in enumerate(runs):
        found.append({**run, "before": state if place % 4 else np.zeros_like(state)})
        state = graph.run(found[-1])["after"]
    return found


def graph_of(folder: Path, *, carried: bool = False) -> Path:
    model = follower(carried=carried)
    free = {0: "batch", 1: "steps"}
    if not carried:
        example = (torch.zeros(1, STEPS, WIDTH),)
        return export(
            model, example, folder / "follower.onnx", ["x"], ["y"], {"x": free, "y": free}
        )
    example = (torch.zeros(1, STEPS, WIDTH), torch.zeros(1, 1, UNITS))
    names = {"x": free, "y": free, "before": {1: "batch"}, "after": {1: "batch"}}
    return export(model, example, folder / "follower.onnx", ["x", "before"], ["y", "after"], names)


def task_of(
    folder: Path, count: int = 60, *, carried: bool = False, **options: object
) -> GraphTask:
    """The follower with `count` recordings and 12 that are held out."""
    path = graph_of(folder, carried=carried)
    for file, runs in (("calibration", signals(count)), ("held-out", signals(12, 9))):
        recorded = streamed(GraphSession(path), runs) if carried else runs
        write_runs(folder / f"{file}.npz", recorded)
    recipe = Recipe(budget=Budget(size_ratio=0.5), **{"minutes": 1.0, **options})  # type: ignore[arg-type]
    files = UploadedFiles(
        model=path, calibration=folder / "calibration.npz", held_out=folder / "held-out.npz"
    )
    task = read_task(files, recipe)
    assert isinstance(task, GraphTask)
    return task


def halved(task: GraphTask, share: float = 0.6) -> GraphNetwork:
    """The task's graph, cut and repaired in closed form."""
    declaration = task.original.declaration()
    observed = task.collect_activations(lambda done, message: None)
    axes = list(declaration.axes)
    plan = rank_components(task.original.arrays(), declaration, observed, prunable=axes)
    return task.original.rebuilt(prune(plan, share).arrays)
