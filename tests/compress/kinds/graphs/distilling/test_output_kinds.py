"""What outputs hold, by walking back to the operator that made their numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper

from isslim.compress.kinds.graphs.distilling.output_kinds import (
    CHANCES,
    NUMBERS,
    OutputKind,
    output_kinds,
)
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from tests.compress.onnx.drawing import BATCH, STEPS, Builder

Head = Callable[[Builder, str], str]
CLASSES, LOGS = OutputKind("probabilities"), OutputKind("log-probabilities")


def kind_of(head: Head, opset: int = 17) -> OutputKind:
    """The kind of an output that a head makes of scores (T, B, 6) of a GRU."""
    b = Builder(opset)
    x = b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3])
    scores = b.node("MatMul", [b.squeeze(b.recurrent("GRU", x, 3, 4)[0], 1), b.weights(4, 6)])
    b.output(head(b, scores), "y")
    return output_kinds(GraphNetwork.from_model(simplified(b.model())), ["y"])["y"]


def transposed(b: Builder, scores: str) -> str:
    return b.node("Transpose", [b.node("Softmax", [scores], axis=-1)], perm=[0, 2, 1])


def apart(b: Builder, scores: str) -> str:
    """Steps and batch as one dimension, and two again behind a Softmax, as Keras has it."""
    flat = b.node("Reshape", [scores, b.constant([-1, 6])])
    return b.node("Reshape", [b.node("Softmax", [flat], axis=-1), b.constant([STEPS, BATCH, 6])])


def rearranged(b: Builder, scores: str) -> str:
    return b.node("Reshape", [b.node("Softmax", [scores], axis=-1), b.constant([-1, 2])])


def selected(b: Builder, scores: str) -> str:
    return b.node("Gather", [b.node("Sigmoid", [scores]), b.constant([0, 1])], axis=2)


def averaged(b: Builder, scores: str) -> str:
    return b.node("ReduceMean", [b.node("Sigmoid", [scores])], axes=[0], keepdims=0)


def beside(b: Builder, scores: str) -> str:
    both = [b.node("Sigmoid", [scores]), b.node("Sigmoid", [b.node("Neg", [scores])])]
    return b.node("Concat", both, axis=2)


def branches(b: Builder, scores: str, other: str = "Sigmoid") -> str:
    def branch(operator: str) -> object:
        name = f"{operator}_of_branch"
        made = helper.make_node(operator, [scores], [name])
        port = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([made], operator, [], [port])

    b.input("which", np.array(True), [])
    return b.node("If", ["which"], then_branch=branch("Sigmoid"), else_branch=branch(other))


KINDS: dict[str, tuple[Head, OutputKind]] = {
    "scores": (lambda b, s: s, NUMBERS),
    "tanh": (lambda b, s: b.node("Tanh", [s]), NUMBERS),
    "softmax": (lambda b, s: b.node("Softmax", [s], axis=2), CLASSES),
    "softmax over steps": (lambda b, s: b.node("Softmax", [s], axis=0),
                           OutputKind("probabilities", -3)),
    "log softmax": (lambda b, s: b.node("LogSoftmax", [s], axis=-1), LOGS),
    "logarithm of a softmax": (lambda b, s: b.node("Log", [b.node("Softmax", [s], axis=-1)]), LOGS),
    "logarithm of anything": (lambda b, s: b.node("Log", [b.node("Abs", [s])]), NUMBERS),
    "exponential of a log softmax": (
        lambda b, s: b.node("Exp", [b.node("LogSoftmax", [s], axis=-1)]), CLASSES),
    "classes before batch": (transposed, OutputKind("probabilities", -2)),
    "taken apart behind it": (apart, CLASSES),
    "cut across classes": (rearranged, NUMBERS),
    "mean over steps of a softmax": (
        lambda b, s: b.node("ReduceMean", [b.node("Softmax", [s], axis=-1)], axes=[0]), NUMBERS),
    "sigmoid": (lambda b, s: b.node("Sigmoid", [s]), CHANCES),
    "some of a sigmoid": (selected, CHANCES),
    "mean of a sigmoid": (averaged, CHANCES),
    "two sigmoids": (beside, CHANCES),
    "sigmoid in both branches": (branches, CHANCES),
    "another function in one branch": (lambda b, s: branches(b, s, "Tanh"), NUMBERS),
    "scaled sigmoid": (
        lambda b, s: b.node("Mul", [b.node("Sigmoid", [s]), b.weights(6)]), NUMBERS),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_of_an_output_is_that_of_what_made_its_numbers(name: str) -> None:
    head, expected = KINDS[name]
    assert kind_of(head) == expected


def test_before_opset_13_a_softmax_that_is_not_over_the_last_dimension_is_numbers() -> None:
    def at(axis: int) -> Head:
        return lambda b, scores: b.node("Softmax", [scores], axis=axis)

    assert kind_of(at(2), opset=11) == CLASSES
    assert kind_of(at(1), opset=11) == NUMBERS
