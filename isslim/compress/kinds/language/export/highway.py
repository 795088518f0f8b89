"""A recurrent highway network as a Scan: the graph holds one step, whatever the number of steps.

    tokens -> Gather -> MatMul, Add -> Scan over the steps -> decoder
                                       ^             ^ state in, out
               lengths -> alive (T, B, 1)

MatMul and Add are the input part of the first depth, for all steps at once. The body of the Scan
(https://onnx.ai/onnx/operators/onnx__Scan.html) reads the weights from the graph around it. A
sequence that has ended keeps its state: padding changes nothing.

Products are MatMuls with matrices stored as (inputs, outputs): the quantizer rewrites every Gemm,
inside a Scan too, and would leave a second copy of the recurrent matrices behind.

Legend: B batch, T steps, E embedding width, W units, D depth.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper

from isslim.compress.export.drawing import GraphBlueprint, array
from isslim.compress.export.node_roles import NodeRole
from isslim.compress.export.streaming import Floats
from isslim.compress.kinds.language.export.scoring import (
    ScoringHead,
    embedding_and_decoder_tensors,
    scoring_graph,
)
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec
from isslim.runtime.contract import LENGTHS, STATE_OUT, TOKENS

STATE = "hidden_0"


def build_highway(network: RhnLanguageModel) -> GraphBlueprint:
    """Builds the graph of a recurrent highway language model."""
    spec = network.spec
    node, float32 = helper.make_node, NodeRole.FLOAT32.node_name
    nodes = [
        node("Gather", ["embedding", TOKENS], ["words"]),  # (T, B, E)
        node("MatMul", ["words", "input_weight"], ["fed"], name=float32("input")),  # (T, B, 2 W)
        node("Add", ["fed", "bias_0"], ["input"]),
        *_alive(),
        node("Squeeze", [STATE, "zero"], ["before"]),  # (1, B, W) -> (B, W)
        node(
            "Scan", ["before", "input", "alive"], ["after", "top"],
            name=float32("highway"), num_scan_inputs=2, body=_step(spec),
        ),
        node("Unsqueeze", ["after", "zero"], [STATE + STATE_OUT]),
    ]  # fmt: skip
    head = ScoringHead("top", spec.width, spec.vocabulary, tied=spec.tied)
    structure = scoring_graph(nodes, {STATE: spec.width}, head)
    return GraphBlueprint(structure, lambda: _weights(network))


def _alive() -> list[NodeProto]:
    """Whether a step lies before its sequence's length: bool (T, B, 1)."""
    node = helper.make_node
    first = helper.make_tensor("value", TensorProto.INT64, [], [0])
    second = helper.make_tensor("value", TensorProto.INT64, [], [1])
    return [
        node("Constant", [], ["first_step"], value=first),
        node("Constant", [], ["each_step"], value=second),
        node("Shape", [TOKENS], ["step_count"], start=0, end=1),  # [T]
        node("Squeeze", ["step_count", "zero"], ["end_step"]),
        node("Range", ["first_step", "end_step", "each_step"], ["step_numbers"]),  # (T,)
        node("Unsqueeze", ["step_numbers", "one"], ["step_column"]),  # (T, 1)
        node("Cast", [LENGTHS], ["long_lengths"], to=TensorProto.INT64),
        node("Less", ["step_column", "long_lengths"], ["alive_rows"]),  # (T, B)
        node("Unsqueeze", ["alive_rows", "last"], ["alive"]),  # (T, B, 1)
    ]


def _step(spec: RhnSpec) -> GraphProto:
    """The body of the Scan.

    It maps the state (B, W), the input part of the first depth (B, 2 W) and alive (B, 1) to the
    next state, which it also gives as its output.
    """
    node = helper.make_node
    nodes = []
    for index in range(spec.depth):
        below = f"state_{index}" if index else "state"
        nodes += [
            node("MatMul", [below, f"recurrent_weight_{index}"], [f"product_{index}"]),
            node(
                "Add",
                [f"product_{index}", f"bias_{index}" if index else "step_input"],
                [f"gates_{index}"],
            ),
            node(
                "Split",
                [f"gates_{index}"],
                [f"change_{index}", f"transform_{index}"],
                axis=1,
                num_outputs=2,
            ),
            node("Tanh", [f"change_{index}"], [f"new_{index}"]),
            node("Sigmoid", [f"transform_{index}"], [f"open_{index}"]),
            node("Sub", [f"new_{index}", below], [f"difference_{index}"]),
            node("Mul", [f"difference_{index}", f"open_{index}"], [f"moved_{index}"]),
            node("Add", [below, f"moved_{index}"], [f"state_{index + 1}"]),
        ]
    nodes += [
        node("Where", ["step_alive", f"state_{spec.depth}", "state"], ["state_after"]),
        node("Identity", ["state_after"], ["step_output"]),
    ]
    port, floats = helper.make_tensor_value_info, TensorProto.FLOAT
    inputs = [
        port("state", floats, ["B", spec.width]),
        port("step_input", floats, ["B", 2 * spec.width]),
        port("step_alive", TensorProto.BOOL, ["B", 1]),
    ]
    outputs = [port(name, floats, ["B", spec.width]) for name in ("state_after", "step_output")]
    return helper.make_graph(nodes, "step", inputs, outputs)


def _weights(network: RhnLanguageModel) -> Iterator[tuple[str, Floats]]:
    """The tensors of the graph, one at a time."""
    yield from embedding_and_decoder_tensors(
        network.embedding, network.decoder, tied=network.spec.tied
    )
    yield "input_weight", np.ascontiguousarray(array(network.highway.input.weight).T)  # (E, 2 W)
    for index, each in enumerate(network.highway.linears()):
        yield f"recurrent_weight_{index}", np.ascontiguousarray(array(each.weight).T)  # (W, 2 W)
        yield f"bias_{index}", array(each.bias)  # (2 W,)
