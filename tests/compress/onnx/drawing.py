"""Builds graphs for tests, node by node."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH = 5, 3


@dataclass
class Builder:
    """Nodes, constants and ports of a graph that grows; methods return the names of values."""

    opset: int = 17
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    nodes: list = field(default_factory=list)
    constants: dict = field(default_factory=dict)
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    feeds: dict = field(default_factory=dict)

    def node(
        self, operator: str, inputs: list[str], outputs: int | list[str] = 1, **attributes: object
    ) -> str:
        names = (
            outputs
            if isinstance(outputs, list)
            else [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        )
        made = helper.make_node(
            operator, inputs, names, name=f"{operator.lower()}_{len(self.nodes)}", **attributes
        )
        self.nodes.append(made)
        return names[0]

    def constant(self, value: object, kind: type = np.int64) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.array(value, kind)
        return name

    def weights(self, *shape: int, scale: float = 0.7) -> str:
        return self.constant(self.rng.normal(0, scale, shape), np.float32)

    def input(self, name: str, value: np.ndarray, shape: list) -> str:
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        self.feeds[name] = value
        return name

    def floats(self, name: str, sizes: tuple[int, ...], shape: list) -> str:
        return self.input(name, self.rng.normal(0, 1, sizes).astype(np.float32), shape)

    def output(
        self, value: str, name: str, shape: list | None = None, kind: int = TensorProto.FLOAT
    ) -> None:
        self.node("Identity", [value], [name])
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def squeeze(self, value: str, axis: int) -> str:
        if self.opset < 13:
            return self.node("Squeeze", [value], axes=[axis])
        return self.node("Squeeze", [value, self.constant([axis])])

    def unsqueeze(self, value: str, axis: int) -> str:
        if self.opset < 13:
            return self.node("Unsqueeze", [value], axes=[axis])
        return self.node("Unsqueeze", [value, self.constant([axis])])

    def split(self, value: str, sizes: list[int], axis: int) -> list[str]:
        names = [f"v{len(self.nodes)}_{i}" for i in range(len(sizes))]
        if self.opset < 13:
            self.node("Split", [value], names, axis=axis, split=sizes)
        else:
            self.node("Split", [value, self.constant(sizes)], names, axis=axis)
        return names

    def total(self, value: str, axis: int) -> str:
        if self.opset < 13:
            return self.node("ReduceSum", [value], axes=[axis], keepdims=0)
        return self.node("ReduceSum", [value, self.constant([axis])], keepdims=0)

    def recurrent(
        self,
        kind: str,
        value: str,
        width: int,
        units: int,
        direction: str = "forward",
        *,
        bias: bool = True,
        initial: list[str] | None = None,
        lengths: str = "",
        peephole: bool = False,
        outputs: list[str] | None = None,
        **attributes: object,
    ) -> list[str]:
        """A layer; gives the names of its outputs."""
        count = 2 if direction == "bidirectional" else 1
        gates = GATES[kind]
        inputs = [
            value,
            self.weights(count, gates * units, width),
            self.weights(count, gates * units, units),
        ]
        inputs.append(self.weights(count, 2 * gates * units) if bias else "")
        inputs += [lengths, *(initial or [])]
        if peephole:
            inputs += [""] * (7 - len(inputs)) + [self.weights(count, 3 * units)]
        while not inputs[-1]:
            inputs.pop()
        names = outputs or [f"v{len(self.nodes)}_{i}" for i in range(3 if kind == "LSTM" else 2)]
        self.node(kind, inputs, names, hidden_size=units, direction=direction, **attributes)
        return names

    def model(self) -> ModelProto:
        tensors = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, "drawn", self.inputs, self.outputs, tensors)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
        )
