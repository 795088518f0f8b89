"""Moments of what the sites of a graph read, against the outputs of torch's own layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isslim.compress.errors import RunsUnusable
from isslim.compress.kinds.graphs.activations import collect_graph_activations
from isslim.compress.kinds.graphs.understanding import understood
from tests.compress.kinds.graphs.models import Layer, inputs, layer_graph
from tests.tagger import export


def labels(count: int) -> list[str]:
    return [f"run {index}" for index in range(count)]


def test_the_matrix_reads_the_outputs_of_the_layer(tmp_path: Path) -> None:
    runs, shares = inputs(6), list[float]()
    _, network = understood(layer_graph(tmp_path))
    found, lines = collect_graph_activations(
        network, runs, labels(6), lambda done, message: shares.append(done)
    )
    assert lines == []
    assert shares[-1] == 1.0
    torch.manual_seed(1)
    module = Layer()
    with torch.no_grad():
        hidden = [module.layer(torch.from_numpy(run["x"]))[0].flatten(0, 1) for run in runs]
    expected = torch.cat(hidden).double().numpy()
    (moments,) = (each for each in found.moments.values() if len(each.whole.mean) == 12)
    assert moments.whole.count == len(expected) == 6 * 2 * 9
    np.testing.assert_allclose(moments.whole.mean, expected.mean(0), rtol=0, atol=1e-5)
    second = expected.T @ expected / len(expected)
    np.testing.assert_allclose(moments.whole.second, second, rtol=0, atol=1e-5)


def test_runs_that_overflow_are_left_out_and_too_many_of_them_refused(tmp_path: Path) -> None:
    _, network = understood(layer_graph(tmp_path))
    runs = inputs(10)
    runs[3] = {"x": runs[3]["x"] * np.float32(1e19)}
    found, lines = collect_graph_activations(network, runs, labels(10), lambda done, message: None)
    (line,) = lines
    assert line.startswith("run 3: ")
    assert "values up to" in line
    whole, _ = collect_graph_activations(
        network, [*runs[:3], *runs[4:]], labels(9), lambda done, message: None
    )
    for site, each in whole.moments.items():
        assert found.moments[site].whole.count == each.whole.count
    for index in (4, 5):
        runs[index] = {"x": np.full_like(runs[index]["x"], np.nan)}
    with pytest.raises(RunsUnusable, match="3 of 10 recorded runs"):
        collect_graph_activations(network, runs, labels(10), lambda done, message: None)


def test_a_kernel_is_applied_at_every_place_and_a_matrix_behind_the_last_step_once(
    tmp_path: Path,
) -> None:
    """However few of a picture's rows are kept."""

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = nn.Sequential(
                nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, stride=(2, 1))
            )
            self.layer, self.said = nn.LSTM(5, 6, batch_first=True), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            columns = self.seen(x).mean(2).transpose(1, 2)
            return self.said(self.layer(columns)[0][:, -1])  # type: ignore[no-any-return]

    torch.manual_seed(0)
    example = torch.zeros(1, 2, 64, 300)
    free = {"x": {0: "batch", 3: "steps"}, "y": {0: "batch"}}
    path = export(Reader(), (example,), tmp_path / "reader.onnx", ["x"], ["y"], free)
    _, network = understood(path)
    draw = np.random.default_rng(0)
    runs = [
        {"x": draw.normal(size=(batch, 2, 64, width)).astype(np.float32)}
        for batch, width in ((2, 300), (1, 200))
    ]
    found, _ = collect_graph_activations(network, runs, labels(2), lambda done, message: None)
    inputs_of = {
        site.name: sum(part.size for part in network.declaration().parts(site))
        for site in network.declaration().sites
    }
    applied = {inputs_of[site]: count for site, count in found.applied.items()}
    # The second convolution gives 31 x 298 and 31 x 198 places, whose columns are the steps.
    columns = 2 * 298 + 198
    assert applied == {4: 31 * columns, 5 + 6: columns, 6: 3}
    assert found.moments[next(site for site, size in inputs_of.items() if size == 4)].count < (
        31 * columns * 9
    )
