"""Stacked LSTMs and GRUs as native operators, never an unrolled loop.

    tokens -> Gather -> LSTM or GRU -> ... -> LSTM or GRU -> (bottleneck ->) decoder
                         ^ state in, out

https://onnx.ai/onnx/operators/onnx__LSTM.html and https://onnx.ai/onnx/operators/onnx__GRU.html; the GRU with
`linear_before_reset`, since in torch's the reset gate multiplies the recurrent product, bias included.

Legend: B batch, T steps, E embedding width, H units of a layer, I inputs of a layer, G gates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, helper
from torch import Tensor, nn

from isslim.compress.export.streaming import Floats
from isslim.compress.kinds.language.export.scoring import (
    BOTTLENECK,
    Drawing,
    array,
    ends,
    scoring_graph,
)
from isslim.compress.kinds.language.networks.layers import PARAMETERS
from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel
from isslim.runtime.contract import LENGTHS, STATE_OUT, TOKENS


@dataclass(frozen=True)
class Operator:
    """How a layer is said in ONNX.

    Attributes:
        name: the operator.
        gates: torch's positions in ONNX's order.
        states: names of its states.
        attributes: beside `hidden_size`.
    """

    name: str
    gates: tuple[int, ...]
    states: tuple[str, ...]
    attributes: dict[str, int]


OPERATORS = {
    # torch stacks i, f, g, o; ONNX i, o, f, c, where c is torch's g.
    "lstm": Operator("LSTM", (0, 3, 1, 2), ("hidden", "cell"), {}),
    # torch stacks r, z, n; ONNX z, r, h, where h is torch's n.
    "gru": Operator("GRU", (1, 0, 2), ("hidden",), {"linear_before_reset": 1}),
}


def draw_stacked(network: StackedLanguageModel) -> Drawing:
    """The graph of a stacked LSTM or GRU language model."""
    spec, operator = network.spec, OPERATORS[network.cell]
    states = {
        f"{state}_{index}": units
        for index, units in enumerate(spec.units)
        for state in operator.states
    }
    nodes = [helper.make_node("Gather", ["embedding", TOKENS], ["x_0"])]
    for index, units in enumerate(spec.units):
        nodes += _layer(operator, network.cell, index, units)
    top, narrow = f"x_{len(spec.units)}", spec.bottleneck is not None
    structure = scoring_graph(
        nodes, top, spec.units[-1], spec.vocabulary, states, tied=spec.tied, narrow=narrow
    )
    return Drawing(structure, lambda: _weights(network, operator))


def _layer(operator: Operator, cell: str, index: int, units: int) -> list[NodeProto]:
    weights = [f"input_weight_{index}", f"recurrent_weight_{index}", f"bias_{index}"]
    states = [f"{state}_{index}" for state in operator.states]
    layer = helper.make_node(
        operator.name,
        [f"x_{index}", *weights, LENGTHS, *states],
        [f"y_{index}", *(name + STATE_OUT for name in states)],
        name=f"{cell}_{index}",
        hidden_size=units,
    )
    layer.attribute.extend(
        helper.make_attribute(name, value) for name, value in operator.attributes.items()
    )
    return [
        layer,
        helper.make_node("Squeeze", [f"y_{index}", "one"], [f"x_{index + 1}"]),
    ]  # (T, 1, B, H) -> (T, B, H)


def _weights(network: StackedLanguageModel, operator: Operator) -> Iterator[tuple[str, Floats]]:
    """The tensors of the graph, one at a time."""
    yield from ends(network.embedding, network.decoder, tied=network.spec.tied)
    if network.bottleneck is not None:
        yield BOTTLENECK, array(network.bottleneck.weight)  # (K, H)
        yield f"{BOTTLENECK}_bias", array(network.bottleneck.bias)  # (K,)
    for index, layer in enumerate(network.layers):
        yield from layer_weights(layer, operator, str(index))


def layer_weights(
    layer: nn.Module, operator: Operator, suffix: str
) -> Iterator[tuple[str, Floats]]:
    """A `RecurrentLayer`'s three tensors as its operator reads them; their names end with the suffix."""
    inward, across, *biases = (layer.get_parameter(name) for name in PARAMETERS)
    yield f"input_weight_{suffix}", _in_onnx_order(inward, operator)[None]  # (1, G H, I)
    yield f"recurrent_weight_{suffix}", _in_onnx_order(across, operator)[None]  # (1, G H, H)
    yield (
        f"bias_{suffix}",
        np.concatenate([_in_onnx_order(bias, operator) for bias in biases])[None],
    )  # (1, 2 G H)


def _in_onnx_order(parameter: Tensor, operator: Operator) -> Floats:
    """(G H, ...) with torch's order of the gates -> the same with ONNX's."""
    values = array(parameter)
    gates = values.reshape(len(operator.gates), -1, *values.shape[1:])  # (G, H, ...)
    return gates[list(operator.gates)].reshape(values.shape)
