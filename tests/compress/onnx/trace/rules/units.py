"""Graphs around recurrent layers for tests of single rules: built, cut, compared with equations.

A test builds an operator behind a layer, and writes down what the whole graph gives in numpy: the
layer by `recurrences`, with the removed units held at zero, and the operator by the equation on its
ONNX page. `UnitsGraph.cut` removes some units and runs what is left in ONNX Runtime.

Legend: T steps, B batch, D directions, H units, I inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from isslim.compress.onnx.model.layouts import size
from isslim.compress.onnx.model.split_model import merge_constants
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.trace.registry import rules_of
from isslim.types.axis_names import is_units
from tests.compress.onnx.drawing import Builder
from tests.compress.onnx.proving import cut as cut_network
from tests.compress.onnx.proving import run, some
from tests.compress.onnx.trace.rules.recurrences import Values, Weights, unrolled

STEPS, BATCH, WIDTH, UNITS = 5, 3, 4, 6


@dataclass(frozen=True)
class LayerOf:
    """A recurrent layer of a graph.

    Attributes:
        node: the operator.
        y: name of Y (T, D, B, H).
        h: name of Y_h (D, B, H).
        c: name of Y_c (D, B, H), of an LSTM.
        steps: name of the first direction's steps (T, B, H).
    """

    node: NodeProto
    y: str
    h: str
    c: str
    steps: str

    @property
    def kind(self) -> str:
        return str(self.node.op_type)

    def attribute(self, name: str, default: object) -> object:
        found = [each for each in self.node.attribute if each.name == name]
        return helper.get_attribute_value(found[0]) if found else default

    @property
    def directions(self) -> list[str]:
        direction = bytes(self.attribute("direction", b"forward")).decode()  # type: ignore[call-overload]
        return {"reverse": ["backward"], "bidirectional": ["forward", "backward"]}.get(
            direction, ["forward"]
        )


class UnitsGraph:
    """A graph that grows: an input x (T, B, I), layers behind it, and what a test adds.

    Attributes:
        b: the builder.
        x: name of the input.
    """

    def __init__(self, opset: int = 17, *, free: bool = False, seed: int = 0) -> None:
        self.b = Builder(opset, np.random.default_rng(seed))
        dims: list = ["T", "B", WIDTH] if free else [STEPS, BATCH, WIDTH]
        self.x = self.b.floats("x", (STEPS, BATCH, WIDTH), dims)

    def layer(
        self,
        value: str | None = None,
        width: int = WIDTH,
        *,
        kind: str = "LSTM",
        units: int = UNITS,
        **more: object,
    ) -> LayerOf:
        outputs = self.b.recurrent(kind, value or self.x, width, units, **more)  # type: ignore[arg-type]
        node = self.b.nodes[-1]
        c = outputs[2] if kind == "LSTM" else ""
        bidirectional = more.get("direction") == "bidirectional"
        forward = self.b.split(outputs[0], [1, 1], 1)[0] if bidirectional else outputs[0]
        return LayerOf(node, outputs[0], outputs[1], c, self.b.squeeze(forward, 1))

    def floats(self, *shape: int, low: float = -1, high: float = 1) -> str:
        """A constant of float32, drawn evenly."""
        return self.b.constant(self.b.rng.uniform(low, high, shape), np.float32)

    def matmul(self, value: str, length: int = UNITS) -> tuple[str, str]:
        """A matrix (length, 2) behind a value whose last dimension has units; and its name."""
        matrix = self.b.weights(length, 2)
        return self.b.node("MatMul", [value, matrix]), matrix

    def number(self, value: str, index: int) -> str:
        """One number of a value's shape, as a tensor of one."""
        return self.b.node(
            "Gather", [self.b.node("Shape", [value]), self.b.constant([index])], axis=0
        )

    def model(self, output: str, kind: int = TensorProto.FLOAT) -> ModelProto:
        self.b.output(output, "y", None, kind)
        return self.b.model()

    def cut(self, output: str, *, seed: int = 0, share: float = 0.5) -> Cut:
        """Removes some units of every axis, none of which may be left alone; channels stay."""
        network = GraphNetwork.from_model(self.model(output))
        assert_layouts_are_true(network, self.b.feeds)
        assert [axis.reasons for axis in network.report() if axis.reasons] == []
        assert network.declaration().axes
        drawn = some(network, seed, share)
        keep = {axis: kept for axis, kept in drawn.items() if is_units(axis)}
        written = cut_network(network, keep).model()
        made = run(written, self.b.feeds)["y"]
        sizes = network.declaration().axes
        assert all(len(kept) < sizes[axis] for axis, kept in keep.items())
        # The proof that the product gives: the original with the removed units at zero.
        proof = run(network.masked_reference(keep), self.b.feeds)["y"]
        np.testing.assert_allclose(made, proof, rtol=1e-5, atol=1e-5)
        return Cut(self, network, keep, made, written)

    def reasons(self, output: str) -> list[str]:
        """Why no unit may be removed: the reasons of every axis, of which none may have none."""
        report = GraphNetwork.from_model(self.model(output)).report()
        assert all(axis.reasons for axis in report)
        return [reason for axis in report for reason in axis.reasons]


@dataclass(frozen=True)
class Cut:
    """A graph of which units were removed.

    Attributes:
        graph: as it was.
        network: understood.
        keep: per axis the kept indices.
        y: what the cut graph gives.
        written: the cut graph.
    """

    graph: UnitsGraph
    network: GraphNetwork
    keep: dict[str, np.ndarray]
    y: Values
    written: ModelProto

    def constant(self, name: str) -> Values:
        return np.asarray(self.graph.b.constants[name])

    def masks(self, layer: LayerOf) -> list[NDArray[np.bool_]]:
        """Per direction which units are left."""
        units = int(layer.attribute("hidden_size", 0))  # type: ignore[call-overload]
        found = []
        for direction in layer.directions:
            own = f"units:{layer.node.name}.{direction}"
            names = [axis.name for axis in self.network.report() if own in axis.layers]
            mask = np.zeros(units, bool)
            mask[self.keep[names[0]]] = True
            found.append(mask)
        return found

    def mask(self, layer: LayerOf) -> NDArray[np.bool_]:
        return self.masks(layer)[0]

    def run(
        self,
        layer: LayerOf,
        x: Values | None = None,
        states: tuple[Values, Values] | None = None,
    ) -> tuple[Values, Values, Values]:
        """Y, Y_h, Y_c of a layer, removed units held at zero."""
        weights = []
        units = int(layer.attribute("hidden_size", 0))  # type: ignore[call-overload]
        inputs = list(layer.node.input)
        for index in range(len(layer.directions)):
            own = [self.constant(name)[index] if name else None for name in inputs[1:4]]
            bias = own[2] if len(own) > 2 and own[2] is not None else np.zeros(2 * len(own[1]))  # type: ignore[arg-type]
            first, second = np.split(bias, 2)
            peephole = np.zeros((3, units))
            if len(inputs) > 7:
                peephole = self.constant(inputs[7])[index].reshape(3, units)
            reset = bool(layer.attribute("linear_before_reset", 0))
            weights.append(Weights(own[0], own[1], first, second, peephole, reset))  # type: ignore[arg-type]
        zeros = np.zeros((len(layer.directions), BATCH, units))
        x = self.graph.b.feeds["x"] if x is None else x
        return unrolled(
            layer.kind, layer.directions, x, states or (zeros, zeros), weights, self.masks(layer)
        )

    def steps(self, layer: LayerOf, x: Values | None = None) -> Values:
        """The steps (T, B, H) of a layer's first direction, removed units held at zero."""
        return self.run(layer, x)[0][:, 0]

    def rows(self, matrix: str, mask: NDArray[np.bool_]) -> Values:
        """A matrix whose rows for removed inputs are zero."""
        return self.constant(matrix) * mask[:, None]


def assert_layouts_are_true(network: GraphNetwork, feeds: dict[str, np.ndarray]) -> None:
    """The layouts are those of the tensors: as many dimensions, and of their sizes."""
    model = merge_constants(network.trace.parts)
    names = [name for node in model.graph.node for name in node.output if name]
    shown = [name for name in names if name in network.trace.layouts]
    for name in shown:
        if name not in {port.name for port in model.graph.output}:
            model.graph.output.append(ValueInfoProto(name=name))
    made = run(model, feeds)
    for name in shown:
        sizes = [size(dim) for dim in network.trace.layouts[name].dims]
        assert len(sizes) == made[name].ndim, name
        known = [(a, b) for a, b in zip(sizes, made[name].shape, strict=True) if a != b]
        assert all(isinstance(a, str) for a, _ in known), (name, sizes, made[name].shape)


def assert_close(made: Values, expected: Values) -> None:
    """Equal to float32's rounding over a few steps and sums of at most some tens of terms."""
    assert made.shape == np.shape(expected)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)


def operators_of(module: ModuleType) -> set[str]:
    """The operators for which a file has rules: its tests must meet each of them."""
    return {operator for rule in rules_of(module) for operator in rule.operators}
