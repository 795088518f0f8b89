"""Random stacks of recurrent layers: every way between two of them, and behind the last.

`Stack(draw)` asks `draw` for every choice, so that hypothesis can shrink a failing graph to its
cause.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import ModelProto

from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import run

Choose = Callable[[str, Sequence[object]], object]
"""Picks one of several by the name of the choice."""


class Stack:
    """One random graph.

    Attributes:
        model: the graph.
        feeds: inputs for it.
    """

    def __init__(self, choose: Choose, seed: int) -> None:
        self._choose = choose
        opset = choose("opset", [11, 13, 17, 21])
        self._b = Builder(opset, np.random.default_rng(seed))  # type: ignore[arg-type]
        self._free = bool(choose("free dimensions", [True, False]))
        self._dims: list = ["T", "B"] if self._free else [STEPS, BATCH]
        value, width = self._entry()
        self._source, self._source_width = value, width
        self._ends: list[tuple[str, int, int]] = []
        for index in range(int(choose("layers", [1, 2, 3]))):  # type: ignore[call-overload]
            below, below_width = value, width
            value, width = self._layer(index, value, width)
            value, width = self._between(index, value, width, below, below_width)
        self._head(value, width)
        self.feeds = self._b.feeds
        self.model: ModelProto = self._b.model()
        made = run(self.model, self.feeds)
        for port in self.model.graph.output:  # a checker wants the number of dimensions
            for index in range(made[port.name].ndim):
                port.type.tensor_type.shape.dim.add().dim_param = f"{port.name}_{index}"

    def _entry(self) -> tuple[str, int]:
        """The first layer's input (T, B, I)."""
        b, width = self._b, int(self._choose("input width", [2, 3]))  # type: ignore[call-overload]
        kind = self._choose("entry", ["floats", "tokens", "batch first", "linear"])
        if kind == "tokens":
            ids = b.input("ids", b.rng.integers(0, 9, (STEPS, BATCH)), self._dims)
            return b.node("Gather", [b.weights(9, width), ids]), width
        if kind == "batch first":
            return b.node(
                "Transpose",
                [b.floats("x", (BATCH, STEPS, width), [*self._dims[::-1], width])],
                perm=[1, 0, 2],
            ), width
        value = b.floats("x", (STEPS, BATCH, width), [*self._dims, width])
        if kind == "linear":
            units = int(self._choose("linear units", [3, 4]))  # type: ignore[call-overload]
            return b.node(
                "Add", [b.node("MatMul", [value, b.weights(width, units)]), b.weights(units)]
            ), units
        return value, width

    def _layer(self, index: int, value: str, width: int) -> tuple[str, int]:
        """A recurrent layer and how its output becomes (T, B, ...) again."""
        b, choose = self._b, self._choose
        kind = str(choose(f"kind {index}", ["LSTM", "GRU", "RNN"]))
        direction = str(choose(f"direction {index}", ["forward", "bidirectional", "reverse"]))
        units = int(choose(f"units {index}", [3, 4, 6]))  # type: ignore[call-overload]
        count = 2 if direction == "bidirectional" else 1
        initial, carried = self._states(index, kind, count, units)
        attributes = (
            {"linear_before_reset": int(bool(choose(f"reset {index}", [0, 1])))}
            if kind == "GRU"
            else {}
        )
        lengths = ""
        if choose(f"lengths {index}", [False, True]):
            lengths = b.input(f"lengths{index}", np.array([STEPS, 2, 3], np.int32), [self._dims[1]])
        outputs = b.recurrent(
            kind,
            value,
            width,
            units,
            direction,
            bias=bool(choose(f"bias {index}", [True, False])),
            initial=initial,
            lengths=lengths,
            peephole=kind == "LSTM" and bool(choose(f"peephole {index}", [False, True])),
            **attributes,
        )
        if carried:
            self._carry(index, outputs[1:])
        self._ends.append((outputs[1], count, units))
        return self._steps(index, outputs[0], count, units)

    def _states(self, index: int, kind: str, count: int, units: int) -> tuple[list[str], bool]:
        """Initial states, and whether the caller carries them."""
        b = self._b
        way = self._choose(
            f"state {index}", ["none", "zeros", "constant", "input", "packed", "computed zeros"]
        )
        number = 2 if kind == "LSTM" else 1
        shape = (count, BATCH, units)
        if way == "none":
            return [], False
        if way in ("zeros", "constant"):
            fill = np.zeros(shape) if way == "zeros" else b.rng.normal(0, 1, shape)
            return [b.constant(fill, np.float32) for _ in range(number)], False
        if way == "computed zeros":
            sizes = b.node("Shape", [self._source])
            batch = b.node("Gather", [sizes, b.constant([1])])
            target = b.node("Concat", [b.constant([count]), batch, b.constant([units])], axis=0)
            return [b.node("ConstantOfShape", [target])] * number, False
        if way == "input":
            names = [
                b.floats(f"s{index}_{i}", shape, [count, self._dims[1], units])
                for i in range(number)
            ]
            return names, True
        packed = b.floats(f"s{index}", (number, *shape), [number, count, self._dims[1], units])
        return [b.squeeze(piece, 0) for piece in b.split(packed, [1] * number, 0)], True

    def _carry(self, index: int, states: list[str]) -> None:
        """Hands states to the caller, each by itself or stacked."""
        b = self._b
        if self._choose(f"carry {index}", ["each", "stacked"]) == "each":
            for position, state in enumerate(states):
                b.output(state, f"state{index}_{position}")
            return
        b.output(
            b.node("Concat", [b.unsqueeze(state, 0) for state in states], axis=0), f"state{index}"
        )

    def _steps(self, index: int, value: str, count: int, units: int) -> tuple[str, int]:
        """(T, D, B, H) -> (T, B, D H) or (T, B, H)."""
        b = self._b
        if count == 1:
            way = self._choose(f"steps {index}", ["squeeze", "reshape", "computed"])
            if way == "squeeze":
                return b.squeeze(value, 1), units
        else:
            way = self._choose(
                f"steps {index}",
                ["reshape", "computed", "sum", "split", "gather", "view", "mean last"],
            )
        if way in ("sum", "split", "gather"):
            return self._directions(str(way), value, units)
        turned = b.node("Transpose", [value], perm=[0, 2, 1, 3])  # (T, B, D, H)
        if way == "mean last":
            return b.node("ReduceMean", [turned], axes=[2], keepdims=0) if b.opset < 18 else b.node(
                "ReduceMean", [turned, b.constant([2])], keepdims=0
            ), units
        if way == "computed":
            sizes = b.node("Shape", [turned])
            directions, last = (
                b.node("Slice", [sizes, b.constant([i]), b.constant([i + 1])]) for i in (2, 3)
            )
            merged = b.node("Mul", [directions, last])
            target = b.node(
                "Concat",
                [b.node("Slice", [sizes, b.constant([0]), b.constant([2])]), merged],
                axis=0,
            )
            return b.node("Reshape", [turned, target]), count * units
        merged = b.node("Reshape", [turned, b.constant([0, 0, -1])])
        if way == "view":
            return b.total(b.node("Reshape", [merged, b.constant([0, 0, 2, units])]), 2), units
        return merged, count * units

    def _directions(self, way: str, value: str, units: int) -> tuple[str, int]:
        b = self._b
        if way == "sum":
            return b.total(value, 1), units
        if way == "split":
            pieces = [b.squeeze(piece, 1) for piece in b.split(value, [1, 1], 1)]
            return b.node("Add", pieces), units
        forward, backward = (b.node("Gather", [value, b.constant(i)], axis=1) for i in (0, 1))
        return b.node("Concat", [backward, b.node("Tanh", [forward])], axis=-1), 2 * units

    def _between(
        self, index: int, value: str, width: int, below: str, below_width: int
    ) -> tuple[str, int]:
        """Something between a layer and what comes next."""
        b = self._b
        ways = [
            "nothing",
            "relu",
            "sigmoid",
            "dropout",
            "scale",
            "shift",
            "linear",
            "glu",
            "concat",
            "stranger",
            "halves",
            "divide",
            "norm",
            "normalise",
            "constant concat",
            "prelu",
            "where",
            "double",
        ]
        if width == below_width:
            ways += ["skip", "skip"]
        way = self._choose(f"between {index}", ways)
        if way == "linear":
            return b.node("MatMul", [value, b.weights(width, 4)]), 4
        made = self._same_width(str(way), index, value, width, below)
        return self._joined(str(way), value, width) if made is None else (made, width)

    def _same_width(self, way: str, index: int, value: str, width: int, below: str) -> str | None:
        """What keeps the features in their places; None for other ways."""
        b = self._b
        simple = {"relu": "Relu", "sigmoid": "Sigmoid", "dropout": "Dropout"}
        scaling = {"scale": "Mul", "shift": "Add", "divide": "Div"}
        made = None
        if way in simple:
            made = b.node(simple[way], [value])
        elif way in scaling:
            factor = b.constant(b.rng.uniform(1, 2, width), np.float32)
            made = b.node(scaling[way], [value, factor])
        elif way == "prelu":
            made = b.node("PRelu", [value, b.weights(width)])
        elif way in ("skip", "double"):
            made = b.node("Add", [value, below if way == "skip" else value])
        elif way == "glu":
            product = b.node("MatMul", [value, b.weights(width, width)])
            gate = b.node("Add", [product, b.weights(width)])
            made = b.node("Mul", [value, b.node("Sigmoid", [gate])])
        elif way == "where":
            large = b.node("Greater", [value, b.constant(0.1, np.float32)])
            made = b.node("Where", [large, value, b.constant(0, np.float32)])
        elif way == "stranger":
            other = b.floats(f"other{index}", (STEPS, BATCH, width), [*self._dims, width])
            made = b.node("Add", [value, other])
        return made

    def _joined(self, way: str, value: str, width: int) -> tuple[str, int]:
        b = self._b
        if way == "concat":
            return b.node("Concat", [value, self._source], axis=-1), width + self._source_width
        if way == "constant concat" and not self._free:
            return b.node("Concat", [value, b.weights(STEPS, BATCH, 2)], axis=2), width + 2
        if way == "halves":
            doubled = b.node("Concat", [value, b.node("Tanh", [value])], axis=2)
            first = b.node(
                "Slice", [doubled, b.constant([0]), b.constant([width]), b.constant([2])]
            )
            second = b.node(
                "Slice", [doubled, b.constant([-width]), b.constant([2**60]), b.constant([-1])]
            )
            return b.node("Mul", [first, second]), width
        if way == "norm" and b.opset >= 17:
            return b.node(
                "LayerNormalization", [value, b.weights(width), b.weights(width)], axis=-1
            ), width
        if way == "normalise":
            return b.node("LpNormalization", [value], axis=-1, p=2), width
        return value, width

    def _head(self, value: str, width: int) -> None:
        """What the graph gives."""
        b = self._b
        ways = [
            "matmul",
            "gemm",
            "last",
            "mean",
            "attention",
            "dot",
            "conv",
            "end",
            "ends",
            "flat",
            "left",
            "gather last",
        ]
        way = str(self._choose("head", ways))
        made = self._head_of_steps(way, value, width) or self._head_of_all(way, value, width)
        b.output(made, "y")

    def _head_of_steps(self, way: str, value: str, width: int) -> str | None:
        """A matrix behind every step, one of them or a mean of all; None for other ways."""
        b = self._b
        made = None
        if way == "matmul":
            made = b.node("Add", [b.node("MatMul", [value, b.weights(width, 2)]), b.weights(2)])
        elif way == "gemm":
            rows = b.node("Reshape", [value, b.constant([-1, width])])
            matrix = [rows, b.weights(2, width), b.weights(2)]
            made = b.node("Gemm", matrix, transB=1, alpha=0.5, beta=2.0)
        elif way == "last":
            row = b.node("Slice", [value, b.constant([-1]), b.constant([2**60]), b.constant([0])])
            made = b.node("Gemm", [b.squeeze(row, 0), b.weights(width, 2), b.weights(2)])
        elif way == "gather last":
            target = b.constant([1, BATCH, width])
            place = b.node("Expand", [b.constant(np.full((1, BATCH, 1), STEPS - 1)), target])
            chosen = b.node("GatherElements", [value, place], axis=0)
            made = b.node("MatMul", [chosen, b.weights(width, 2)])
        elif way in ("mean", "attention"):
            made = b.node("MatMul", [self._pooled(way, value, width), b.weights(width, 2)])
        return made

    def _head_of_all(self, way: str, value: str, width: int) -> str:
        """What reads all steps together, or the states of layers."""
        b = self._b
        if way == "dot":
            turned = b.node("Transpose", [value], perm=[1, 0, 2])
            made = b.node("MatMul", [turned, b.node("Transpose", [value], perm=[1, 2, 0])])
        elif way == "conv":
            turned = b.node("Transpose", [value], perm=[1, 2, 0])
            size = int(self._choose("kernel", [1, 3]))  # type: ignore[call-overload]
            kernel = [turned, b.weights(2, width, size), b.weights(2)]
            made = b.node("Conv", kernel, kernel_shape=[size])
        elif way == "flat" and not self._free:
            turned = b.node("Transpose", [value], perm=[1, 0, 2])
            flat = b.node("Flatten", [turned])
            made = b.node("Gemm", [flat, b.weights(STEPS * width, 2), b.weights(2)])
        elif way == "left":
            turned = b.node("Transpose", [value], perm=[0, 2, 1])
            made = b.node("MatMul", [b.weights(2, width), turned])
        elif way == "ends":
            made = self._last_of_all()
        else:
            state, count, units = self._ends[-1]
            turned = b.node("Transpose", [state], perm=[1, 0, 2])
            rows = b.node("Reshape", [turned, b.constant([0, -1])])
            made = b.node("Gemm", [rows, b.weights(count * units, 2), b.weights(2)])
        return made

    def _pooled(self, way: str, value: str, width: int) -> str:
        b = self._b
        if way == "mean":
            if b.opset < 18:
                return b.node("ReduceMean", [value], axes=[0], keepdims=0)
            return b.node("ReduceMean", [value, b.constant([0])], keepdims=0)
        hidden = b.node("Tanh", [b.node("MatMul", [value, b.weights(width, 3)])])
        scores = b.node(
            "Softmax", [b.node("MatMul", [hidden, b.weights(3, 1)])], axis=0 if b.opset >= 13 else 2
        )
        return b.total(b.node("Mul", [value, scores]), 0)

    def _last_of_all(self) -> str:
        """The last layer's state, taken out of a stack of all layers' when they are of one size."""
        b = self._b
        _, _, units = self._ends[-1]
        stacked = b.node(
            "Concat", [state for state, _, other in self._ends if other == units], axis=0
        )
        last = b.node("Gather", [stacked, b.constant(-1)], axis=0)
        return b.node("MatMul", [last, b.weights(units, 2)])
