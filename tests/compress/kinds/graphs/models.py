"""Small recurrent graphs with random weights, exported in a moment, for tests of evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isslim.runtime.graphs.recorded_inputs import NamedArrays
from tests.tagger import export

FREE = {0: "batch", 1: "steps"}


class Layer(nn.Module):
    """An LSTM read by a matrix: x (B, T, 6) to y (B, T, 5), or to y (B, 5) of the last step."""

    def __init__(
        self,
        units: int = 12,
        *,
        last: bool = False,
        mixed: bool = False,
        log: bool = False,
        turned: bool = False,
    ) -> None:
        super().__init__()
        self.layer, self.said = nn.LSTM(6, units, batch_first=True), nn.Linear(units, 5)
        self.last, self.mixed, self.log, self.turned = last, mixed, log, turned

    def forward(self, x: Tensor) -> Tensor:
        y = self.said(self.layer(x)[0])
        if self.mixed:  # every sequence sees the others
            y = y - y.mean(0, keepdim=True)
        if self.log:  # of what may be below zero
            y = y + torch.log(x[..., :1] + 10)
        if self.turned:  # classes before steps
            y = y.transpose(1, 2)
        return y[:, -1] if self.last else y  # type: ignore[no-any-return]


class Noisy(nn.Module):
    """A sample around a mean, and with `shown` that mean."""

    def __init__(self, *, shown: bool) -> None:
        super().__init__()
        self.layer, self.mean, self.shown = (
            nn.LSTM(6, 12, batch_first=True),
            nn.Linear(12, 4),
            shown,
        )

    def forward(self, x: Tensor) -> Any:
        mean = self.mean(self.layer(x)[0])
        drawn = mean + torch.randn_like(mean)
        return (drawn, mean) if self.shown else drawn


class Twins(nn.Module):
    """Two layers side by side; the output depends on the first alone, the second is times zero."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.unseen = nn.LSTM(6, 12, batch_first=True), nn.LSTM(6, 8, batch_first=True)
        self.one, self.other = nn.Linear(12, 5), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(self.seen(x)[0]) + self.other(self.unseen(x)[0]) * (x[..., :1] > 1e6)  # type: ignore[no-any-return]


class Stateful(nn.Module):
    """States in and out; the output is read from them, random, or does not depend on them."""

    def __init__(self, said: str = "all") -> None:
        super().__init__()
        self.layer, self.matrix, self.said = (
            nn.LSTM(6, 12, batch_first=True),
            nn.Linear(12, 5),
            said,
        )

    def forward(self, x: Tensor, h0: Tensor, c0: Tensor) -> Any:
        y, (h, c) = self.layer(x, (h0, c0))
        said = self.matrix(y)
        if self.said == "noise":
            said = torch.bernoulli(torch.sigmoid(said))
        elif self.said == "noise before":
            said = self.matrix(y + torch.rand_like(y))
        elif self.said == "nothing":
            said = 2 * x[..., :5] + said * (x[..., :1] > 1e6)
        return said, h, c


def layer_graph(folder: Path, *, fixed: bool = False, bias: float = 0.0, **options: Any) -> Path:
    """A `Layer` as a file; `fixed` to one sequence of 20 steps; `bias` is of the first class."""
    torch.manual_seed(1)
    model = Layer(**options)
    with torch.no_grad():
        model.said.bias[0] += bias
    steps = {0: "batch", 2: "steps"} if options.get("turned") else FREE
    free = {} if fixed else {"x": FREE, "y": {0: "batch"} if options.get("last") else steps}
    return export(model, (torch.zeros(1, 20, 6),), folder / "layer.onnx", ["x"], ["y"], free)


def twin_graph(folder: Path) -> Path:
    """`Twins` as a file."""
    torch.manual_seed(1)
    return export(
        Twins(),
        (torch.zeros(2, 7, 6),),
        folder / "twins.onnx",
        ["x"],
        ["y"],
        {"x": FREE, "y": FREE},
    )


def noisy_graph(folder: Path, *, shown: bool) -> Path:
    """A `Noisy` as a file."""
    torch.manual_seed(1)
    outputs = ["drawn", "mean"] if shown else ["drawn"]
    return export(
        Noisy(shown=shown),
        (torch.zeros(2, 7, 6),),
        folder / "noisy.onnx",
        ["x"],
        outputs,
        {"x": FREE, **dict.fromkeys(outputs, FREE)},
    )


def stateful_graph(folder: Path, said: str = "all") -> Path:
    """A `Stateful` as a file."""
    torch.manual_seed(1)
    state = torch.zeros(1, 2, 12)
    carried = {name: {1: "batch"} for name in ("h0", "c0", "hn", "cn")}
    return export(
        Stateful(said),
        (torch.zeros(2, 7, 6), state, state),
        folder / "stateful.onnx",
        ["x", "h0", "c0"],
        ["y", "hn", "cn"],
        {"x": FREE, "y": FREE, **carried},
    )


def inputs(
    count: int, batch: int = 2, steps: int = 9, *, seed: int = 0, states: bool = False
) -> list[NamedArrays]:
    """Recorded runs of these graphs."""
    generator = np.random.default_rng(seed)
    zeros = {name: np.zeros((1, batch, 12), np.float32) for name in ("h0", "c0")} if states else {}
    return [
        {"x": generator.standard_normal((batch, steps, 6)).astype(np.float32), **zeros}
        for _ in range(count)
    ]
