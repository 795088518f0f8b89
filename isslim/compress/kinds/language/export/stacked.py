"""Stacked LSTMs and GRUs as native operators or as Scans, never an unrolled loop.

    tokens -> Gather -> (narrow layer ->) LSTM, GRU or Scan -> ... -> (bottleneck ->) decoder
                                          ^ state in, out

https://onnx.ai/onnx/operators/onnx__LSTM.html and https://onnx.ai/onnx/operators/onnx__GRU.html;
the GRU with `linear_before_reset`, since in torch's the reset gate multiplies the recurrent
product, bias included. These operators have no narrow recurrence: a layer with one is a Scan
(`scan`), or its two matrices are multiplied out, which gives the same at another speed.

Legend: B batch, T steps, E embedding width, H units of a layer, I inputs of a layer, G gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from onnx import NodeProto, helper
from torch import Tensor

from isslim.compress.export.drawing import GraphBlueprint
from isslim.compress.export.recurrent import operator_weights
from isslim.compress.export.streaming import Floats
from isslim.compress.kinds.language.export.layers import (
    INPUT,
    RECURRENT,
    Layer,
    is_narrow,
    read_side,
)
from isslim.compress.kinds.language.export.scan import (
    last_steps,
    narrow_input,
    narrow_input_weights,
    scan_layer,
    scan_weights,
)
from isslim.compress.kinds.language.export.scoring import head_of, head_tensors, scoring_graph
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel
from isslim.runtime.contract import LENGTHS, STATE_OUT, TOKENS

Recurrence = Literal["narrow", "native", "scan"]
"""How recurrent layers are written: `narrow`, those with a narrow recurrence as a Scan and all
others as ONNX's operator; `native`, all as the operator, matrices multiplied out (the faster form
on a GPU); `scan`, all as a Scan."""


def has_narrow_recurrence(network: LanguageModel) -> bool:
    """Whether a network can be written as `narrow` and as `native`, and the two differ."""
    return isinstance(network, StackedLanguageModel) and any(network.spec.recurrent_ranks)


def build_stacked(
    network: StackedLanguageModel, recurrence: Recurrence = "narrow"
) -> GraphBlueprint:
    """Builds the graph of a stacked LSTM or GRU language model.

    Args:
        network: the model.
        recurrence: how its layers are written.
    """
    tensors = network.tensors()
    layers = [
        _layer(tensors, network.cell, index, units, recurrence)
        for index, units in enumerate(network.spec.units)
    ]
    nodes = [helper.make_node("Gather", ["embedding", TOKENS], ["x_0"])]
    if any(layer.is_scan for layer in layers):
        nodes += last_steps()
    for layer in layers:
        nodes += scan_layer(layer) if layer.is_scan else _native(layer)
    states = {state: layer.units for layer in layers for state in layer.states}
    head = head_of(tensors, f"x_{len(layers)}", network.spec.units[-1])
    structure = scoring_graph(nodes, states, head)
    return GraphBlueprint(structure, lambda: _weights(tensors, layers))


def _layer(
    tensors: Mapping[str, Tensor], cell: str, index: int, units: int, recurrence: Recurrence
) -> Layer:
    narrow = frozenset(side for side in (INPUT, RECURRENT) if is_narrow(tensors, index, side))
    is_scan = recurrence == "scan" or (recurrence == "narrow" and RECURRENT in narrow)
    return Layer(index, cell, units, narrow, is_scan)


def _native(layer: Layer) -> list[NodeProto]:
    """From `x_<index>` (T, B, I) to `x_<index + 1>` (T, B, H) by ONNX's operator."""
    index, operator, below = layer.index, layer.operator, f"x_{layer.index}"
    nodes = list[NodeProto]()
    if INPUT in layer.narrow:
        nodes, below = [narrow_input(index)], f"narrow_{index}"
    weights = [f"input_weight_{index}", f"recurrent_weight_{index}", f"bias_{index}"]
    made = helper.make_node(
        operator.name,
        [below, *weights, LENGTHS, *layer.states],
        [f"y_{index}", *(name + STATE_OUT for name in layer.states)],
        name=f"{layer.cell}_{index}",
        hidden_size=layer.units,
    )
    made.attribute.extend(
        helper.make_attribute(name, value) for name, value in operator.attributes.items()
    )
    squeezed = helper.make_node("Squeeze", [f"y_{index}", "one"], [f"x_{index + 1}"])
    return [*nodes, made, squeezed]  # (T, 1, B, H) -> (T, B, H)


def _weights(tensors: Mapping[str, Tensor], layers: list[Layer]) -> Iterator[tuple[str, Floats]]:
    """The tensors of the graph, those of one layer at a time."""
    yield from head_tensors(tensors)
    for layer in layers:
        if layer.is_scan:
            yield from scan_weights(tensors, layer)
            continue
        yield from narrow_input_weights(tensors, layer.index)
        inward, across = (read_side(tensors, layer.index, side) for side in (INPUT, RECURRENT))
        parameters = [inward.matrix, across.whole(), inward.bias, across.bias]
        yield from operator_weights(parameters, layer.operator, str(layer.index))
