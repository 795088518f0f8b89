"""Moments of what the sites of a graph read, against the outputs of torch's own layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from isslim.compress.errors import RunsUnusable
from isslim.compress.kinds.graphs.activations import collect_graph_activations
from isslim.compress.kinds.graphs.understanding import understood
from tests.compress.kinds.graphs.models import Layer, inputs, layer_graph


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
