"""A module as a graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.published.exporting import export
from isslim.runtime.graphs.recorded_inputs import GraphSession


def test_graph_computes_what_the_module_does_at_other_sizes(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.9)).train()
    free = {"x": ("batch", "steps", None), "y": ("batch", "steps", None)}
    export(module, (torch.zeros(1, 2, 3),), tmp_path / "graph.onnx", free)
    graph = GraphSession(tmp_path / "graph.onnx")
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    assert graph.inputs["x"][1] == ["batch", "steps", 3]
    with torch.no_grad():  # the module is left in evaluation mode: nothing is dropped
        wanted = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(graph.run({"x": x})["y"], wanted, atol=1e-6)
