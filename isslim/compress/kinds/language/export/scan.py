"""LSTM and GRU layers as a Scan, which, unlike ONNX's operators, may have a narrow recurrence.

    x (T, B, I) -> (MatMul ->) MatMul, Add -> Scan over the steps -> (T, B, H)
                                              ^ state in, out
                      of one step, h (B, H) -> (MatMul ->) MatMul -> gates -> h

What the input gives to the gates is computed for all steps at once. The body of the Scan
(https://onnx.ai/onnx/operators/onnx__Scan.html) reads its matrices from the graph around it; they
are stored as (inputs, outputs), and the products are MatMuls whose names have the role
`NodeRole.RECURRENT`, in the body `recurrent_narrow_<layer>` and `recurrent_gates_<layer>`.

A Scan does not know lengths. It runs on in the padding, where outputs mean nothing, and the state
after each sequence's last step is picked from those of all steps: that costs less than a choice at
every step, since each node of the body takes time at every step.

Legend: B batch, T steps, H units, I inputs of the layer, G gates, K rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper
from torch import Tensor

from isslim.compress.export.drawing import port
from isslim.compress.export.node_roles import NodeRole
from isslim.compress.export.streaming import Floats
from isslim.compress.kinds.language.export.layers import INPUT, RECURRENT, Layer, read_side
from isslim.runtime.contract import LENGTHS, STATE_OUT

LAST_STEPS = "last_steps"
"""Step and number of the sequence of each sequence's last step: int64 (1, B, 2)."""
_name = NodeRole.RECURRENT.node_name


def last_steps() -> list[NodeProto]:
    """Computes `LAST_STEPS`, once for all layers."""
    node = helper.make_node
    return [
        node("Cast", [LENGTHS], ["long_lengths"], to=TensorProto.INT64),  # (B,)
        node("Sub", ["long_lengths", "one"], ["last_step"]),
        node("Unsqueeze", ["last_step", "first_and_last"], ["last_step_column"]),  # (1, B, 1)
        # Every length is at least 1, so that these are the numbers of all sequences.
        node("NonZero", [LENGTHS], ["sequence"]),  # (1, B)
        node("Unsqueeze", ["sequence", "last"], ["sequence_column"]),  # (1, B, 1)
        node("Concat", ["last_step_column", "sequence_column"], [LAST_STEPS], axis=-1),
    ]


def scan_layer(layer: Layer) -> list[NodeProto]:
    """The nodes of a layer: from `x_<index>` (T, B, I) to `x_<index + 1>` (T, B, H) and its states.

    They read `LAST_STEPS`.
    """
    node, index = helper.make_node, layer.index
    below, nodes = f"x_{index}", list[NodeProto]()
    if INPUT in layer.narrow:
        nodes.append(narrow_input(index))
        below = f"narrow_{index}"
    nodes += [
        node("MatMul", [below, f"input_weight_{index}"], [f"fed_{index}"],
             name=_name(f"input_{index}")),
        node("Add", [f"fed_{index}", f"bias_{index}"], [f"input_{index}"]),  # (T, B, G H)
    ]  # fmt: skip
    fed = [f"input_{index}"]
    if layer.cell == "gru":
        fed = [f"open_input_{index}", f"new_input_{index}"]  # (T, B, 2 H), (T, B, H)
        sizes = f"gate_sizes_{index}"
        nodes += [
            node("Constant", [], [sizes], value_ints=[2 * layer.units, layer.units]),
            node("Split", [f"input_{index}", sizes], fed, axis=-1),
        ]
    step = _gru_step(layer) if layer.cell == "gru" else _lstm_step(layer)
    return nodes + scanned(layer.states, fed, f"x_{index + 1}", step, f"scan_{index}")


def scanned(
    states: list[str], fed: list[str], top: str, step: GraphProto, suffix: str
) -> list[NodeProto]:
    """A Scan from states (1, B, H) to those after each sequence's last step, `<state>_out`.

    Args:
        states: names; the first is the output of the step before.
        fed: names of what is read step by step, (T, B, ...).
        top: the name of the output of every step, (T, B, H).
        step: the body. It reads the states (B, H) and a step of each of `fed`, and gives the next
            states, and then these once more, to be kept for every step.
        suffix: of the name of the Scan.
    """
    node = helper.make_node
    before = [f"{state}_before" for state in states]
    kept = [top, *(f"{state}_of_each" for state in states[1:])]
    return [
        *(
            node("Squeeze", [state, "zero"], [name])
            for state, name in zip(states, before, strict=True)
        ),
        node(
            "Scan",
            [*before, *fed],
            [*(f"{state}_after_all" for state in states), *kept],
            name=_name(suffix),
            num_scan_inputs=len(fed),
            body=step,
        ),
        *(
            node("GatherND", [name, LAST_STEPS], [state + STATE_OUT])
            for state, name in zip(states, kept, strict=True)
        ),
    ]


def narrow_input(index: int) -> NodeProto:
    """The product of a narrow layer before the input of layer `index`: `narrow_<index>`."""
    return helper.make_node(
        "MatMul",
        [f"x_{index}", f"input_narrow_{index}"],
        [f"narrow_{index}"],
        name=_name(f"input_narrow_{index}"),
    )


def narrow_input_weights(tensors: Mapping[str, Tensor], index: int) -> Iterator[tuple[str, Floats]]:
    """The matrix that `narrow_input` reads, (I, K), if there is one.

    Args:
        tensors: of the network, by name.
        index: of the layer.
    """
    narrow = read_side(tensors, index, INPUT).narrow
    if narrow is not None:
        yield f"input_narrow_{index}", _lying(narrow)


def scan_weights(tensors: Mapping[str, Tensor], layer: Layer) -> Iterator[tuple[str, Floats]]:
    """The tensors that the nodes of `scan_layer` read.

    Args:
        tensors: of the network, by name.
        layer: the layer.
    """
    index, ordered = layer.index, layer.operator.ordered
    yield from narrow_input_weights(tensors, index)
    inward, across = (read_side(tensors, index, side) for side in (INPUT, RECURRENT))
    yield f"input_weight_{index}", _lying(ordered(inward.matrix))  # (I or K, G H)
    yield f"recurrent_weight_{index}", _lying(ordered(across.matrix))  # (H or K, G H)
    if across.narrow is not None:
        yield f"recurrent_narrow_{index}", _lying(across.narrow)  # (H, K)
    if layer.cell == "gru":
        # The reset gate multiplies the recurrent product with its bias.
        yield f"bias_{index}", ordered(inward.bias)  # (G H,)
        yield f"recurrent_bias_{index}", ordered(across.bias)  # (G H,)
    else:
        yield f"bias_{index}", ordered(inward.bias + across.bias)  # (G H,)


def _lying(matrix: Floats) -> Floats:
    """A matrix (outputs, inputs) as a MatMul reads it."""
    return np.ascontiguousarray(matrix.T)


def _recurrent_products(layer: Layer) -> list[NodeProto]:
    """Of the body: from `hidden` (B, H) to `product` (B, G H)."""
    node, index = helper.make_node, layer.index
    nodes, below = list[NodeProto](), "hidden"
    if RECURRENT in layer.narrow:
        below = "narrow_hidden"
        nodes = [
            node("MatMul", ["hidden", f"recurrent_narrow_{index}"], [below],
                 name=_name(f"narrow_{index}")),
        ]  # fmt: skip
    return [
        *nodes,
        node("MatMul", [below, f"recurrent_weight_{index}"], ["product"],
             name=_name(f"gates_{index}")),
    ]  # fmt: skip


def _lstm_step(layer: Layer) -> GraphProto:
    """One step of an LSTM: gates i, o, f and g, in ONNX's order."""
    node = helper.make_node
    nodes = [
        *_recurrent_products(layer),
        node("Add", ["product", "step_input"], ["gates"]),
        node("Split", ["gates"], ["gate_i", "gate_o", "gate_f", "gate_g"], axis=1, num_outputs=4),
        *(node("Sigmoid", [f"gate_{gate}"], [f"open_{gate}"]) for gate in "iof"),
        node("Tanh", ["gate_g"], ["new"]),
        node("Mul", ["open_f", "cell"], ["left"]),
        node("Mul", ["open_i", "new"], ["added"]),
        node("Add", ["left", "added"], ["next_cell"]),
        node("Tanh", ["next_cell"], ["shown"]),
        node("Mul", ["open_o", "shown"], ["next_hidden"]),
        node("Identity", ["next_hidden"], ["kept_hidden"]),
        node("Identity", ["next_cell"], ["kept_cell"]),
    ]
    sizes = {"hidden": 1, "cell": 1, "step_input": 4}
    made = ["next_hidden", "next_cell", "kept_hidden", "kept_cell"]
    return body(nodes, layer.units, sizes, made)


def _gru_step(layer: Layer) -> GraphProto:
    """One step of a GRU: gates z and r, and the new value n; h' = n + z (h - n)."""
    node, index = helper.make_node, layer.index
    nodes = [
        *_recurrent_products(layer),
        node("Add", ["product", f"recurrent_bias_{index}"], ["whole"]),
        node("Split", ["whole", f"gate_sizes_{index}"], ["gates", "new_product"], axis=1),
        node("Add", ["gates", "open_input"], ["open_gates"]),
        node("Sigmoid", ["open_gates"], ["opened"]),
        node("Split", ["opened"], ["open_z", "open_r"], axis=1, num_outputs=2),
        node("Mul", ["open_r", "new_product"], ["reset"]),
        node("Add", ["reset", "new_input"], ["new_gate"]),
        node("Tanh", ["new_gate"], ["new"]),
        node("Sub", ["hidden", "new"], ["difference"]),
        node("Mul", ["open_z", "difference"], ["left"]),
        node("Add", ["new", "left"], ["next_hidden"]),
        node("Identity", ["next_hidden"], ["kept_hidden"]),
    ]
    sizes = {"hidden": 1, "open_input": 2, "new_input": 1}
    return body(nodes, layer.units, sizes, ["next_hidden", "kept_hidden"])


def body(
    nodes: list[NodeProto], units: int, given: Mapping[str, int], made: list[str]
) -> GraphProto:
    """A step as a graph.

    Args:
        nodes: its nodes.
        units: H.
        given: by input, how many times H its width is.
        made: its outputs, (B, H) each.
    """
    floats = TensorProto.FLOAT
    inputs = [port(name, floats, ["B", times * units]) for name, times in given.items()]
    outputs = [port(name, floats, ["B", units]) for name in made]
    return helper.make_graph(nodes, "step", inputs, outputs)
