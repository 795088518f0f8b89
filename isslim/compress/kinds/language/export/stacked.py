"""Stacked LSTMs and GRUs as native operators, never an unrolled loop.

    tokens -> Gather -> LSTM or GRU -> ... -> LSTM or GRU -> (bottleneck ->) decoder
                         ^ state in, out

https://onnx.ai/onnx/operators/onnx__LSTM.html and https://onnx.ai/onnx/operators/onnx__GRU.html;
the GRU with `linear_before_reset`, since in torch's the reset gate multiplies the recurrent
product, bias included.

Legend: B batch, T steps, E embedding width, H units of a layer, I inputs of a layer, G gates.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import NodeProto, helper

from isslim.compress.export.drawing import GraphBlueprint, array
from isslim.compress.export.recurrent import OPERATORS, Operator, layer_weights
from isslim.compress.export.streaming import Floats
from isslim.compress.kinds.language.export.scoring import (
    ScoringHead,
    embedding_and_decoder_tensors,
    scoring_graph,
)
from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel
from isslim.runtime.contract import LENGTHS, STATE_OUT, TOKENS


def build_stacked(network: StackedLanguageModel) -> GraphBlueprint:
    """Builds the graph of a stacked LSTM or GRU language model."""
    spec, operator = network.spec, OPERATORS[network.cell]
    states = {
        f"{state}_{index}": units
        for index, units in enumerate(spec.units)
        for state in operator.states
    }
    nodes = [helper.make_node("Gather", ["embedding", TOKENS], ["x_0"])]
    for index, units in enumerate(spec.units):
        nodes += _layer(operator, network.cell, index, units)
    head = ScoringHead(
        top=f"x_{len(spec.units)}",
        width=spec.units[-1],
        vocabulary=spec.vocabulary,
        tied=spec.tied,
        narrow=spec.bottleneck is not None,
    )
    structure = scoring_graph(nodes, states, head)
    return GraphBlueprint(structure, lambda: _weights(network, operator))


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
    yield from embedding_and_decoder_tensors(
        network.embedding, network.decoder, tied=network.spec.tied
    )
    if network.bottleneck is not None:
        yield "bottleneck", array(network.bottleneck.weight)  # (K, H)
        yield "bottleneck_bias", array(network.bottleneck.bias)  # (K,)
    for index, layer in enumerate(network.layers):
        yield from layer_weights(layer, operator, str(index))
