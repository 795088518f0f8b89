"""Writes graphs as Keras 3 and tf2onnx 1.17 do: a recurrent layer is a Loop over its cell.

The nodes of the Loop are those that the converter writes, each with the same inputs. Left out is
what it writes around it to no effect: a first step, of which only the shape is read, and a guard of
the Embedding against ids below zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from tests.compress.onnx.drawing import GATES, Builder

FLOAT, INT32, INT64, BOOL = (
    TensorProto.FLOAT,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.BOOL,
)
END = 2**31 - 1
OPSET = 15
RUN = "body/run"


@dataclass
class Body(Builder):
    """A body: its names are its own, and its constants lie in it."""

    def node(
        self, operator: str, inputs: list[str], outputs: int | list[str] = 1, **attributes: object
    ) -> str:
        names = outputs
        if isinstance(outputs, int):
            names = [f"body/v{len(self.nodes)}_{i}" for i in range(outputs)]
        return super().node(operator, inputs, names, **attributes)

    def constant(self, value: object, kind: type = np.int64) -> str:
        name = f"body/c{len(self.constants)}"
        self.constants[name] = np.array(value, kind)
        return name

    def graph(self, inputs: list, outputs: list) -> GraphProto:
        tensors = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        return helper.make_graph(self.nodes, "body", inputs, outputs, tensors)


@dataclass
class KerasLayer:
    """A recurrent layer of Keras, with its options.

    Attributes:
        kind: LSTM, GRU or RNN (SimpleRNN).
        mask: Embedding with mask_zero in front: the input is ids.
        zero_output: zero_output_for_mask, as in a Bidirectional.
        whole: return_sequences.
        backwards: go_backwards.
        states: initial states are inputs, last states outputs.
        bias: use_bias.
        reset_after: of a GRU.
        activation: None is linear.
        gates: recurrent_activation.
        steps: the number of steps where it is fixed.
        classes: outputs of a matrix behind the layer; 0: there is none.
        in_front: whether the first state is that of an LSTM, which the converter writes as one.
    """

    kind: str = "GRU"
    mask: bool = False
    zero_output: bool = False
    whole: bool = True
    backwards: bool = False
    states: bool = False
    bias: bool = True
    reset_after: bool = True
    activation: str | None = "Tanh"
    gates: str = "Sigmoid"
    steps: int | None = None
    classes: int = 0
    in_front: bool = False
    units: int = 6
    width: int = 4
    outer: Builder = field(default_factory=lambda: Builder(OPSET))
    body: Body = field(default_factory=lambda: Body(OPSET))

    def model(self) -> ModelProto:
        """The whole graph."""
        outer = self.outer
        x, mask = self._inputs()
        steps = self._steps(x)
        if self.in_front:
            _, state, _ = outer.recurrent("LSTM", x, self.width, self.units)
            initial = [outer.squeeze(state, 0)]
        elif self.states:
            count = 2 if self.kind == "LSTM" else 1
            initial = [
                outer.floats(f"state{i}", (3, self.units), ["B", self.units]) for i in range(count)
            ]
        else:
            initial = [self._zeros(x)] * (2 if self.kind == "LSTM" else 1)
        shown, *last = self._loop(x, mask, steps, initial)
        shape: list = ["B", self.steps or "T"]
        if self.whole:
            shown = outer.node("Transpose", [shown], perm=[1, 0, 2])
        else:
            cut = [outer.constant([each]) for each in (-1, END, 0)]
            shown, shape = outer.squeeze(outer.node("Slice", [shown, *cut]), 0), ["B"]
        if self.classes:
            shown = outer.node("MatMul", [shown, outer.weights(self.units, self.classes)])
        outer.output(shown, "y", [*shape, self.classes or self.units])
        for index, value in enumerate(last if self.states else []):
            outer.output(value, f"last{index}", ["B", self.units])
        return outer.model()

    def feeds(self, ids: np.ndarray | None = None, batch: int = 3) -> dict[str, np.ndarray]:
        """Random inputs, or those with the given ids (B, T)."""
        rng = np.random.default_rng(1)
        steps = self.steps or 7
        shape = (batch, self.units)
        fed = {
            name: rng.normal(0, 1, shape).astype(np.float32)
            for name in self.outer.feeds
            if name.startswith("state")
        }
        if self.mask:
            return {"x": rng.integers(0, 3, (batch, steps)).astype(np.int32), **fed} | (
                {} if ids is None else {"x": ids.astype(np.int32)}
            )
        return {"x": rng.normal(0, 1, (batch, steps, self.width)).astype(np.float32), **fed}

    def _inputs(self) -> tuple[str, str]:
        """The steps (T, B, I), and the mask (T, B, 1)."""
        outer, steps, mask = self.outer, self.steps or "T", ""
        if self.mask:
            ids = outer.input("x", np.zeros((3, self.steps or 7), np.int32), ["B", steps])
            there = outer.node("Not", [outer.node("Equal", [ids, outer.constant(0, np.int32)])])
            self.batch_first = outer.node("Gather", [outer.weights(9, self.width), ids], axis=0)
            mask = outer.node("Transpose", [outer.unsqueeze(there, -1)], perm=[1, 0, 2])
        else:
            self.batch_first = outer.floats(
                "x", (3, self.steps or 7, self.width), ["B", steps, self.width]
            )
        x = outer.node("Transpose", [self.batch_first], perm=[1, 0, 2])
        self.forward = x
        if self.backwards:
            x, mask = self._turned(x), self._turned(mask) if mask else ""
        return x, mask

    def _turned(self, value: str) -> str:
        """ReverseV2: all steps in the opposite order."""
        outer = self.outer
        shape = outer.node("Shape", [value])
        steps, batch = (outer.node("Gather", [shape, outer.constant([i])]) for i in (0, 1))
        lengths = outer.node("Expand", [steps, batch])
        return outer.node("ReverseSequence", [value, lengths], time_axis=0, batch_axis=1)

    def _size(self, value: str) -> str:
        """The first dimension as one whole number of 32 bits, in a vector."""
        outer = self.outer
        shape = outer.node("Cast", [outer.node("Shape", [value])], to=INT32)
        return outer.node("Slice", [shape, *(outer.constant([each]) for each in (0, 1, 0))])

    def _steps(self, x: str) -> str:
        if self.steps:
            return self.outer.constant(self.steps)
        return self.outer.squeeze(self._size(self.forward), 0)

    def _zeros(self, x: str) -> str:
        outer = self.outer
        shape = outer.node(
            "Concat", [self._size(self.batch_first), outer.constant([self.units], np.int32)], axis=0
        )
        shape = outer.node("Cast", [shape], to=INT64)
        return outer.node("Expand", [outer.constant(0, np.float32), shape])

    def _loop(self, x: str, mask: str, steps: str, initial: list[str]) -> list[str]:
        """The Loop; what it shows (T, B, H), then its states after the last step."""
        outer, body = self.outer, self.body
        nothing = []
        if mask:
            shape = outer.node("Shape", [initial[0]])
            nothing = [outer.node("ConstantOfShape", [shape])]
        sizes = [] if self.steps else [steps]
        zeros = nothing if self.zero_output else []
        carried = [
            outer.constant(0, np.int32),
            *nothing,
            *initial,
            *sizes,
            *self._kernels(),
            *zeros,
        ]
        names = [f"body/in{index}" for index in range(len(carried))]
        first = 1 + len(nothing)
        behind = first + len(initial)
        states = names[first:behind]
        own = names[behind + len(sizes) : len(names) - len(zeros)]
        time = names[0]
        after = body.node("Add", [time, body.constant(1, np.int32)])
        updates = _CELLS[self.kind](self, body.node("Gather", [x, time]), states, own)
        shows = []
        if mask:
            there = body.node("Gather", [mask, time])
            shows = [self._select(there, updates[0], names[-1] if zeros else names[1])]
            pairs = zip(updates, states, strict=True)
            updates = [self._select(there, new, old) for new, old in pairs]
        going = self._condition(after, steps, names[behind] if sizes else steps)
        shown = body.node("Identity", [(shows or updates)[0]])
        results = [after, *shows, *updates, *names[behind:]]
        kinds = [INT32] + [FLOAT] * (len(carried) - 1)
        if sizes:
            kinds[behind] = INT32
        ports = [
            helper.make_tensor_value_info(RUN, INT64, []),
            helper.make_tensor_value_info("body/cond", BOOL, []),
        ]
        ends = [helper.make_tensor_value_info(going, BOOL, [])]
        for name, end, kind, shape in zip(
            names, results, kinds, self._shapes(carried, behind), strict=True
        ):
            ports.append(helper.make_tensor_value_info(name, kind, shape))
            ends.append(helper.make_tensor_value_info(end, kind, shape))
        ends.append(helper.make_tensor_value_info(shown, FLOAT, [None, self.units]))
        outputs = [f"loop{index}" for index in range(len(carried) + 1)]
        often = steps if self.steps else outer.node("Cast", [steps], to=INT64)
        inputs = [often, self._begins(steps), *carried]
        outer.node("Loop", inputs, outputs, body=body.graph(ports, ends))
        return [outputs[-1], *outputs[first:behind]]

    def _kernels(self) -> list[str]:
        """W, the bias and U, small enough that no rounding grows from step to step."""
        rows = GATES[self.kind] * self.units
        shapes: list[tuple[int, ...]] = [(self.width, rows), (self.units, rows)]
        if self.bias:
            shapes.insert(1, (2, rows) if self.kind == "GRU" and self.reset_after else (rows,))
        return [self.outer.weights(*shape, scale=0.3) for shape in shapes]

    def _shapes(self, carried: list[str], behind: int) -> list[list]:
        """Per carried value its shape; what lies before `behind`, but the first, are states."""
        fixed = [self.outer.constants.get(name) for name in carried]
        shapes: list[list] = [[] if value is None else list(value.shape) for value in fixed]
        for index in range(1, behind):
            shapes[index] = [None, self.units]
        if self.zero_output:
            shapes[-1] = [None, self.units]
        return shapes

    def _begins(self, steps: str) -> str:
        outer = self.outer
        number = outer.node("Cast", [steps], to=FLOAT)
        less = outer.node("Less", [outer.constant(0, np.float32), number])
        return outer.node("And", [less, less])

    def _condition(self, after: str, steps: str, inner: str) -> str:
        """Whether another step follows: twice, by the number of the run and by the layer's own."""
        body = self.body
        numbers = [body.node("Cast", [each], to=FLOAT) for each in (RUN, steps, after, inner)]
        return body.node("And", [body.node("Less", numbers[:2]), body.node("Less", numbers[2:])])

    def _select(self, there: str, one: str, other: str) -> str:
        """SelectV2, which becomes a sum of two products."""
        body = self.body
        kept = body.node("Cast", [body.node("Not", [there])], to=FLOAT)
        taken = body.node("Cast", [there], to=FLOAT)
        return body.node("Add", [body.node("Mul", [taken, one]), body.node("Mul", [other, kept])])

    def activated(self, value: str, name: str | None) -> str:
        """An activation as the converter writes it."""
        body = self.body
        if name == "hard_sigmoid":
            more = body.node("Add", [value, body.constant(3, np.float32)])
            limits = [body.constant(each, np.float32) for each in (0, 6)]
            clipped = body.node("Clip", [more, *limits])
            return body.node("Mul", [clipped, body.constant(1 / 6, np.float32)])
        return body.node(name, [value]) if name else value

    def part(self, value: str, start: int, stop: int) -> str:
        """A range of units, by a Slice of both dimensions."""
        bounds = [[0, start], [END, stop], [0, 1]]
        return self.body.node("Slice", [value, *(self.body.constant(each) for each in bounds)])


def _rnn(layer: KerasLayer, x: str, states: list[str], own: list[str]) -> list[str]:
    body = layer.body
    made = body.node("MatMul", [x, own[0]])
    if layer.bias:
        made = body.node("Add", [made, own[1]])
    recurrent = body.node("MatMul", [states[0], own[2] if layer.bias else own[1]])
    return [layer.activated(body.node("Add", [made, recurrent]), layer.activation)]


def _lstm(layer: KerasLayer, x: str, states: list[str], own: list[str]) -> list[str]:
    body = layer.body
    recurrent = body.node("MatMul", [states[0], own[2] if layer.bias else own[1]])
    made = body.node("Add", [body.node("MatMul", [x, own[0]]), recurrent])
    if layer.bias:
        made = body.node("Add", [made, own[1]])
    names = [f"body/gate{index}" for index in range(4)]
    body.node("Split", [made], names, axis=1)
    i, f, o = (layer.activated(names[index], layer.gates) for index in (0, 1, 3))
    kept = body.node("Mul", [f, states[1]])
    new = body.node("Mul", [i, layer.activated(names[2], layer.activation)])
    cell = body.node("Add", [kept, new])
    return [body.node("Mul", [o, layer.activated(cell, layer.activation)]), cell]


def _gru(layer: KerasLayer, x: str, states: list[str], own: list[str]) -> list[str]:
    body, units, kernel = layer.body, layer.units, own[-1]
    inputs = body.node("MatMul", [x, own[0]])
    second = ""
    if layer.bias and layer.reset_after:
        body.node("Split", [own[1]], ["body/bias0", "body/bias1"], axis=0)
        first = body.squeeze("body/bias0", 0)
        second = body.squeeze("body/bias1", 0)
        inputs = body.node("Add", [inputs, first])
    elif layer.bias:
        inputs = body.node("Add", [inputs, own[1]])
    names = [f"body/gate{index}" for index in range(3)]
    body.node("Split", [inputs], names, axis=-1)
    read = kernel if layer.reset_after else layer.part(kernel, 0, 2 * units)
    recurrent = body.node("MatMul", [states[0], read])
    if second:
        recurrent = body.node("Add", [recurrent, second])
    z, r = (
        layer.activated(
            body.node("Add", [names[at], layer.part(recurrent, at * units, (at + 1) * units)]),
            layer.gates,
        )
        for at in (0, 1)
    )
    if layer.reset_after:
        reset = body.node("Mul", [r, layer.part(recurrent, 2 * units, END)])
    else:
        inner = body.node("Mul", [r, states[0]])
        reset = body.node("MatMul", [inner, layer.part(kernel, 2 * units, END)])
    candidate = layer.activated(body.node("Add", [names[2], reset]), layer.activation)
    left = body.node("Sub", [body.constant(1, np.float32), z])
    kept = body.node("Mul", [z, states[0]])
    return [body.node("Add", [kept, body.node("Mul", [left, candidate])])]


_CELLS: dict[str, Callable[[KerasLayer, str, list[str], list[str]], list[str]]] = {
    "RNN": _rnn,
    "LSTM": _lstm,
    "GRU": _gru,
}
