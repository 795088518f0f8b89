"""A recurrent highway network as a Scan: the graph holds one step, whatever the number of steps.

    tokens -> Gather -> MatMul, Add -> Scan over the steps -> decoder
                                       ^ state in, out

MatMul and Add are the input part of the first depth, for all steps at once. The body of the Scan
reads the weights from the graph around it; states, lengths and the names of products are as in
`scan`, in the body `recurrent_gates_<depth>`.

Legend: B batch, T steps, E embedding width, W units, D depth.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import GraphProto, helper

from isslim.compress.export.drawing import GraphBlueprint, array
from isslim.compress.export.node_roles import NodeRole
from isslim.compress.export.streaming import Floats
from isslim.compress.kinds.language.export.scan import body, last_steps, scanned
from isslim.compress.kinds.language.export.scoring import head_of, head_tensors, scoring_graph
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec
from isslim.runtime.contract import TOKENS

STATE = "hidden_0"
_name = NodeRole.RECURRENT.node_name


def build_highway(network: RhnLanguageModel) -> GraphBlueprint:
    """Builds the graph of a recurrent highway language model."""
    spec, tensors = network.spec, network.tensors()
    node = helper.make_node
    nodes = [
        node("Gather", ["embedding", TOKENS], ["words"]),  # (T, B, E)
        node("MatMul", ["words", "input_weight"], ["fed"], name=_name("input")),  # (T, B, 2 W)
        node("Add", ["fed", "bias_0"], ["input"]),
        *last_steps(),
        *scanned([STATE], ["input"], "top", _step(spec), "scan"),
    ]
    head = head_of(tensors, "top", spec.width)
    structure = scoring_graph(nodes, {STATE: spec.width}, head)
    return GraphBlueprint(structure, lambda: _weights(network))


def _step(spec: RhnSpec) -> GraphProto:
    """The body of the Scan.

    It maps the state (B, W) and the input part of the first depth (B, 2 W) to the next state, which
    it also gives as its output.
    """
    node = helper.make_node
    nodes = []
    for index in range(spec.depth):
        below = f"state_{index}" if index else "state"
        nodes += [
            node(
                "MatMul",
                [below, f"recurrent_weight_{index}"],
                [f"product_{index}"],
                name=_name(f"gates_{index}"),
            ),
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
    after = f"state_{spec.depth}"
    nodes.append(node("Identity", [after], ["step_output"]))
    return body(nodes, spec.width, {"state": 1, "step_input": 2}, [after, "step_output"])


def _weights(network: RhnLanguageModel) -> Iterator[tuple[str, Floats]]:
    """The tensors of the graph, one at a time."""
    yield from head_tensors(network.tensors())
    yield "input_weight", np.ascontiguousarray(array(network.highway.input.weight).T)  # (E, 2 W)
    for index, each in enumerate(network.highway.linears()):
        yield f"recurrent_weight_{index}", np.ascontiguousarray(array(each.weight).T)  # (W, 2 W)
        yield f"bias_{index}", array(each.bias)  # (2 W,)
