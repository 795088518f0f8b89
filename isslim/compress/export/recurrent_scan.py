"""GRU and RNN operators as a Scan that computes the same, whose products can take 8 bits.

ONNX Runtime has an int8 operator for an LSTM only. A Scan's body is made of ordinary nodes, so its
product with the state can be an integer one:

    X -> MatMul, Add -> Scan over the steps -> Y, Y_h
                         ^ h0

MatMul and Add are the input part of all gates for all steps at once. A GRU's update gate is
computed as 1 - z, by the other sign of its weights: the state then moves by

    h' = h + (1 - z) (h~ - h)

and a sequence that has ended keeps its state exactly where the input part of that gate is so low
that its sigmoid is zero. Only an RNN's body has to choose between the old and the new state.

https://onnx.ai/onnx/operators/onnx__GRU.html, onnx__RNN.html, onnx__Scan.html

Legend: T steps, B batch, D directions, I inputs, H units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from isslim.compress.export.int8_graph import Int8Graph
from isslim.compress.onnx.model.attributes import get_float, get_int, get_strings, set_attribute
from isslim.compress.onnx.model.recurrent import (
    H0,
    LENGTHS,
    OPERATORS,
    B,
    Cell,
    R,
    Recurrent,
    W,
    X,
    cell,
    view,
)
from isslim.compress.onnx.model.split_model import given

_ACTIVATIONS = {"GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
"""Their defaults, for one direction."""
_SHUT = np.float32(-1e9)
"""The sigmoid of this is zero in float32."""
_RANGE, _INPUTS_FOR_ATTRIBUTES = 11, 13
"""First versions of the standard operators with Range, and with axes and sizes as inputs."""


def has_scan(work: Int8Graph, node: NodeProto) -> bool:
    """Whether a recurrent node can be written as a Scan.

    Args:
        work: the graph.
        node: a recurrent node.

    Returns:
        True for a GRU or RNN with constant weights, the operator's own activations, no clip, and
        steps before sequences in its tensors.
    """
    usual = _ACTIVATIONS.get(node.op_type)
    if usual is None or work.parts.opset < _RANGE:
        return False
    constant = work.is_matrix(node, W) and work.is_matrix(node, R)
    constant = constant and (not given(node, B) or work.is_matrix(node, B, rank=2))
    named = [each.lower() for each in get_strings(node, "activations") or usual]
    unlimited = get_float(node, "clip", float("inf")) == float("inf")
    as_usual = named == usual * (len(named) // len(usual))  # once for each direction
    return constant and unlimited and as_usual and not get_int(node, "layout", 0)


def as_scan(work: Int8Graph, node: NodeProto) -> list[NodeProto]:
    """The nodes that compute what a GRU or RNN computes, a Scan for each direction.

    Args:
        work: the graph; it gets new constants.
        node: one that `has_scan`.

    Returns:
        Nodes in topological order, in float32. Its products are those of constant matrices: a
        MatMul for the input of each direction, and those in the bodies of the Scans.
    """
    seen = view(node)
    assert seen is not None
    return _Layer(work, seen).nodes


class _Nodes:
    """Nodes of one graph, with unique names for what they give."""

    def __init__(self, work: Int8Graph, base: str) -> None:
        self._work, self._base = work, base
        self.nodes: list[NodeProto] = []

    def name(self, wish: str) -> str:
        """A unique name for a value."""
        return self._work.fresh(f"{self._base}_{wish}")

    def constant(self, value: NDArray[np.generic], wish: str) -> str:
        """The name of a new constant.

        Args:
            value: the constant.
            wish: what it is, for its name.
        """
        name = self.name(wish)
        self._work.constants[name] = value
        return name

    def give(self, wish: str, operator: str, inputs: list[str], **attributes: Any) -> str:
        """Adds a node with one output, and returns the output's name.

        Args:
            wish: what it gives, for the name.
            operator: of the node.
            inputs: names.
            attributes: of the node.
        """
        name = self.name(wish)
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def unsqueeze(self, value: str, axes: list[int], wish: str) -> str:
        """A value with more dimensions, of length 1.

        Args:
            value: its name.
            axes: where they are in the result.
            wish: what it gives, for the name.
        """
        if self._work.parts.opset < _INPUTS_FOR_ATTRIBUTES:
            return self.give(wish, "Unsqueeze", [value], axes=axes)
        return self.give(wish, "Unsqueeze", [value, self.constant(np.array(axes), "axes")])

    def split(self, value: str, sizes: list[int], wishes: Sequence[str]) -> list[str]:
        """Parts of a value along its last dimension.

        Args:
            value: its name.
            sizes: of the parts.
            wishes: what they are, for their names.
        """
        names = [self.name(wish) for wish in wishes]
        if self._work.parts.opset < _INPUTS_FOR_ATTRIBUTES:
            self.nodes.append(helper.make_node("Split", [value], names, axis=-1, split=sizes))
        else:
            inputs = [value, self.constant(np.array(sizes), "sizes")]
            self.nodes.append(helper.make_node("Split", inputs, names, axis=-1))
        return names


class _Layer(_Nodes):
    """The nodes around the bodies: inputs, states and outputs of all directions."""

    def __init__(self, work: Int8Graph, seen: Recurrent) -> None:
        super().__init__(work, seen.name)
        self._seen, self._node = seen, seen.node
        self._x = seen.given(X)
        self._sizes = self.give("sizes", "Shape", [self._x])  # [T, B, I]
        self._alive = self._mask() if seen.given(LENGTHS) else None
        wanted = [index < len(seen.node.output) and seen.node.output[index] for index in range(2)]
        steps, last = zip(
            *(
                self._direction(index, every_step=bool(wanted[0]))
                for index in range(len(seen.directions))
            ),
            strict=True,
        )
        if wanted[0]:
            self._join([self.unsqueeze(each, [1], "y") for each in steps], 0, axis=1)
        if wanted[1]:
            self._join([self.unsqueeze(each, [0], "last") for each in last], 1, axis=0)

    def _mask(self) -> str:
        """Whether a step lies before its sequence's length: bool (T, B, 1)."""
        index = [self.constant(np.array(number), "number") for number in (0, 1)]
        end = self.give("end", "Gather", [self._sizes, index[0]], axis=0)
        steps = self.give("steps", "Range", [index[0], end, index[1]])  # (T,)
        lengths = self.give("long", "Cast", [self._seen.given(LENGTHS)], to=TensorProto.INT64)
        both = self.unsqueeze(steps, [1, 2], "step"), self.unsqueeze(lengths, [0, 2], "length")
        return self.give("alive", "Less", [*both])

    def _direction(self, index: int, *, every_step: bool) -> tuple[str, str]:
        """One direction's Scan: names of its output (T, B, H) and of its last state (B, H)."""
        weights = {
            at: self._work.constants[self._seen.given(at)]
            for at in (W, R, B)
            if self._seen.given(at)
        }
        own = cell(self._seen, index, weights)
        inputs = self._inputs(own)
        body = _gru if self._seen.kind == "GRU" else _rnn
        backward = self._seen.directions[index] == "backward"
        step, last = self.name("every"), self.name("after")
        scan = helper.make_node(
            "Scan",
            [self._start(index), *inputs],
            [last, step] if every_step else [last],
            name=self._node.name if index == 0 else f"{self._node.name}_{index}",
            num_scan_inputs=len(inputs),
            body=body(_Body(self._work, self._seen, every_step=every_step), own),
        )
        if backward:
            set_attribute(scan, "scan_input_directions", [1] * len(inputs))
            if every_step:
                set_attribute(scan, "scan_output_directions", [1])
        self.nodes.append(scan)
        if every_step and self._alive is not None:
            zero = self.constant(np.array(0, np.float32), "zero")
            step = self.give("padded", "Where", [self._alive, step, zero])
        return step, last

    def _inputs(self, own: Cell) -> list[str]:
        """What the body reads at each step.

        Of a GRU the input part (T, B, 2 H) of 1 - z and r, and that of h~ (T, B, H); of an RNN that
        of its gate, and whether the sequence goes on (T, B, 1) where it has a length.
        """
        units = self._seen.units
        matrix, bias = (_signed(each, self._seen) for each in (own.weight, _input_bias(own)))
        product = self.give(
            "fed", "MatMul", [self._x, self.constant(np.ascontiguousarray(matrix.T), "input")]
        )
        fed = self.give("input_part", "Add", [product, self.constant(bias, "bias")])
        if self._seen.kind == "RNN":
            return [fed, *([] if self._alive is None else [self._alive])]
        gates, candidate = self.split(fed, [2 * units, units], ["gates_input", "new_input"])
        if self._alive is not None:
            shut = self.constant(np.array(_SHUT), "shut")
            gates = self.give("open_input", "Where", [self._alive, gates, shut])
        return [gates, candidate]

    def _start(self, index: int) -> str:
        """The initial state (B, H) of one direction."""
        if self._seen.given(H0):
            at = self.constant(np.array(index), "direction")
            return self.give("before", "Gather", [self._seen.given(H0), at], axis=0)
        batch = self.constant(np.array([1]), "batch")
        batch = self.give("sequences", "Gather", [self._sizes, batch], axis=0)  # [B]
        units = self.constant(np.array([self._seen.units]), "units")
        shape = self.give("state_size", "Concat", [batch, units], axis=0)
        return self.give("before", "ConstantOfShape", [shape])

    def _join(self, values: list[str], index: int, *, axis: int) -> None:
        """Gives an output of the node the values of its directions."""
        name = self._node.output[index]
        self.nodes.append(
            helper.make_node("Concat", values, [name], axis=axis)
            if len(values) > 1
            else helper.make_node("Identity", values, [name])
        )


class _Body(_Nodes):
    """The nodes of one step."""

    def __init__(self, work: Int8Graph, seen: Recurrent, *, every_step: bool) -> None:
        super().__init__(work, f"{seen.name}_step")
        self.seen, self._every_step = seen, every_step
        self.lengths = bool(seen.given(LENGTHS))
        self.inputs: list[ValueInfoProto] = []

    def reads(self, wish: str, width: int, kind: int = TensorProto.FLOAT) -> str:
        """An input of the body.

        Args:
            wish: what it is, for its name.
            width: its shape is (B, width).
            kind: of its numbers.
        """
        name = self.name(wish)
        self.inputs.append(helper.make_tensor_value_info(name, kind, [None, width]))
        return name

    def product(self, value: str, matrix: NDArray[np.float32], wish: str) -> str:
        """The product of a value with a matrix of the operator.

        Args:
            value: the name of the value, (B, K).
            matrix: (N, K).
            wish: what it gives (B, N), for the name.
        """
        return self.give(
            wish, "MatMul", [value, self.constant(np.ascontiguousarray(matrix.T), "recurrent")]
        )

    def graph(self, after: str) -> GraphProto:
        """The body, which gives the state `after` a step, also as its output."""
        values = [after]
        if self._every_step:
            values.append(self.give("output", "Identity", [after]))
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, self.seen.units])
            for name in values
        ]
        return helper.make_graph(self.nodes, "step", self.inputs, outputs)


def _gru(body: _Body, own: Cell) -> GraphProto:
    units = body.seen.units
    state = body.reads("state", units)
    gates_input, new_input = body.reads("gates_input", 2 * units), body.reads("new_input", units)
    across = body.product(state, _signed(own.recurrence, body.seen), "across")
    if own.candidate is None:
        bias = np.zeros(3 * units, np.float32)
        if own.recurrence_bias is not None:
            bias[2 * units :] = own.recurrence_bias[2 * units :]
        biased = body.give("biased", "Add", [across, body.constant(bias, "across_bias")])
        across, candidate = body.split(biased, [2 * units, units], ["across_gates", "across_new"])
    gates = body.give("open", "Sigmoid", [body.give("gates", "Add", [gates_input, across])])
    moves, reset = body.split(gates, [units, units], ["moves", "reset"])
    if own.candidate is None:
        kept = body.give("kept", "Mul", [reset, candidate])
    else:
        kept = body.product(body.give("kept", "Mul", [reset, state]), own.candidate, "new_across")
    new = body.give("new", "Tanh", [body.give("sum", "Add", [new_input, kept])])
    moved = body.give("moved", "Mul", [moves, body.give("change", "Sub", [new, state])])
    return body.graph(body.give("after", "Add", [state, moved]))


def _rnn(body: _Body, own: Cell) -> GraphProto:
    units = body.seen.units
    state, fed = body.reads("state", units), body.reads("input", units)
    alive = body.reads("alive", 1, TensorProto.BOOL) if body.lengths else None
    across = body.product(state, own.recurrence, "across")
    after = body.give("after", "Tanh", [body.give("sum", "Add", [fed, across])])
    if alive is not None:
        after = body.give("left", "Where", [alive, after, state])
    return body.graph(after)


def _signed(rows: NDArray[np.float32], seen: Recurrent) -> NDArray[np.float32]:
    """Rows of a GRU's gates with the other sign where they are those of z; (G H, ...)."""
    if seen.kind != "GRU":
        return rows
    signs = np.ones(len(rows), np.float32)
    signs[: seen.units] = -1
    return np.asarray(rows * signs.reshape(-1, *[1] * (rows.ndim - 1)), np.float32)


def _input_bias(own: Cell) -> NDArray[np.float32]:
    """Everything that can be added before the Scan: only what a reset gate multiplies cannot."""
    bias = own.bias.copy()
    if own.recurrence_bias is not None:
        gates = 2 * len(bias) // OPERATORS["GRU"]
        bias[:gates] += own.recurrence_bias[:gates]
    if own.candidate_bias is not None:
        bias[-len(own.candidate_bias) :] += own.candidate_bias
    return bias
