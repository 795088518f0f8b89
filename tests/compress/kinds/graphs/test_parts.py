"""Parameters and multiply-adds by part of a graph, against those of the exported module."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from isslim.compress.kinds.graphs.parts import parameters_of, parts_of, untouched
from isslim.compress.kinds.graphs.understanding import understood
from isslim.compress.modules.export import export_module
from isslim.compress.pruning import axes
from tests.compress.kinds.graphs.models import FREE, Layer, layer_graph
from tests.compress.modules.small import whole_network
from tests.compress.modules.zoo import EXAMPLES
from tests.tagger import export


def test_a_layer_its_reader_and_the_rest_hold_every_parameter(tmp_path: Path) -> None:
    _, network = understood(layer_graph(tmp_path, units=12))
    declaration = network.declaration()
    layer, matrix, rest = parts_of(network, declaration)
    module = Layer(12)
    whole = sum(each.numel() for each in module.parameters())
    # The file holds two biases of a gate, of which only the sum counts.
    assert (layer.width, layer.parameters) == (12, 4 * 12 * (6 + 12 + 2))
    assert untouched(network) == 0
    assert rest.parameters == 5  # the matrix's bias
    assert layer.mult_adds == 4 * 12 * (6 + 12)
    assert (matrix.width, matrix.parameters, matrix.mult_adds) == (0, 12 * 5, 12 * 5)
    assert sum(each.parameters for each in (layer, matrix, rest)) == whole
    assert parameters_of(network, declaration) == whole


def test_a_smaller_graph_is_counted_by_its_sizes(tmp_path: Path) -> None:
    _, network = understood(layer_graph(tmp_path, units=12))
    ((axis, _),) = network.declaration().axes.items()
    small = axes.resized(network.declaration(), {axis: 5})
    layer, matrix, rest = parts_of(network, small)
    assert (layer.width, layer.mult_adds, matrix.mult_adds) == (5, 4 * 5 * (6 + 5), 5 * 5)
    whole = sum(each.numel() for each in Layer(5).parameters())
    assert sum(each.parameters for each in (layer, matrix, rest)) == whole
    assert parameters_of(network, small) == whole


@pytest.mark.parametrize("name", ["language model", "tied language model", "packed tagger"])
def test_graph_of_a_module_has_its_number_of_parameters(name: str, tmp_path: Path) -> None:
    """Numbers of units that a graph selects states by are no parameters."""
    module = EXAMPLES[name].make().eval()
    exported = export_module(module, EXAMPLES[name].calls(3), tmp_path / "module.onnx")
    network = whole_network(exported)
    wanted = sum(parameter.numel() for parameter in module.parameters())
    assert parameters_of(network, network.declaration()) == wanted
    assert sum(part.parameters for part in parts_of(network, network.declaration())) == wanted


def test_a_matrix_has_the_width_of_its_channels_where_some_could_be_removed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 5))
    module = Layer(12)
    module.said = dense  # type: ignore[assignment]
    free = {"x": FREE, "y": FREE}
    path = export(module, (torch.zeros(1, 20, 6),), tmp_path / "g.onnx", ["x"], ["y"], free)
    _, network = understood(path)
    found = {part.name: part for part in parts_of(network, network.declaration())}
    one, two = found["/said/said.0/MatMul"], found["/said/said.2/MatMul"]
    assert (one.width, one.mult_adds) == (9, 12 * 9)
    assert (two.width, two.mult_adds) == (0, 9 * 5)
    small = axes.resized(network.declaration(), {"channels:/said/said.0/MatMul": 4})
    cut = {part.name: part for part in parts_of(network, small)}
    assert (cut["/said/said.0/MatMul"].width, cut["/said/said.2/MatMul"].mult_adds) == (4, 20)
    whole = sum(each.numel() for each in module.parameters())
    assert parameters_of(network, network.declaration()) == whole
