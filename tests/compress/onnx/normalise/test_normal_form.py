"""A graph in normal form gives exactly what it gave, and what hid sizes is gone from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper

from isslim.compress.onnx.model.split_model import SplitModel, merge_constants, split_constants
from isslim.compress.onnx.normalise.normal_form import drop_unread, normal_form, steps_first
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import run

WIDTH, UNITS = 3, 4


def formed(b: Builder) -> SplitModel:
    """The normal form, which gives exactly what the graph gives."""
    source = split_constants(b.model())
    before = source.structure.SerializeToString(), dict(source.constants)
    made = normal_form(source).parts
    assert (source.structure.SerializeToString(), source.constants) == before
    expected, found = run(b.model(), b.feeds), run(merge_constants(made), b.feeds)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    return made


def operators(parts: SplitModel) -> Counter[str]:
    return Counter(node.op_type for node in parts.structure.graph.node)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_layer_with_the_batch_first_gives_what_one_with_the_steps_first_gives(
    kind: str, direction: str
) -> None:
    count, states = 2 if direction == "bidirectional" else 1, 2 if kind == "LSTM" else 1
    runs = []
    for layout in (0, 1):
        b = Builder(rng=np.random.default_rng(1))
        x = b.floats("x", (STEPS, BATCH, WIDTH), [None] * 3)
        given = [b.floats(f"s{i}", (count, BATCH, UNITS), [None] * 3) for i in range(states)]
        outputs = b.recurrent(kind, x, WIDTH, UNITS, direction, initial=given, layout=layout)
        for index, name in enumerate(outputs[: 1 + states]):
            b.output(name, f"out{index}")
        feeds = {name: value.swapaxes(0, 1) if layout else value for name, value in b.feeds.items()}
        parts = split_constants(b.model())
        if layout:
            steps_first(parts)
            (layer,) = (node for node in parts.structure.graph.node if node.op_type == kind)
            assert "layout" not in [each.name for each in layer.attribute]
        runs.append(run(merge_constants(parts), feeds))
    np.testing.assert_array_equal(runs[1]["out0"], runs[0]["out0"].transpose(2, 0, 1, 3))
    for index in range(states):
        name = f"out{index + 1}"
        np.testing.assert_array_equal(runs[1][name], runs[0][name].swapaxes(0, 1))


def zeros_of_shape(b: Builder) -> str:
    batch = b.node("Gather", [b.node("Shape", ["x"]), b.constant([1])])
    target = b.node("Concat", [b.constant([1]), batch, b.constant([UNITS])], axis=0)
    return b.node("ConstantOfShape", [target])


def zeros_moved(b: Builder) -> str:
    first = b.constant(np.zeros((BATCH, UNITS)), np.float32)
    return b.unsqueeze(b.node("Dropout", [b.node("Identity", [first])]), 0)


def zeros_joined(b: Builder) -> str:
    half = b.constant(np.zeros((1, BATCH, UNITS // 2)), np.float32)
    return b.node("Concat", [half, half], axis=2)


@pytest.mark.parametrize("zeros", [zeros_of_shape, zeros_moved, zeros_joined])
def test_an_initial_state_of_zeros_is_left_out_however_it_is_built(
    zeros: Callable[[Builder], str],
) -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    state = zeros(b)
    b.output(b.recurrent("LSTM", x, WIDTH, UNITS, initial=[state, state])[0], "y")
    assert operators(formed(b)) == {"LSTM": 1, "Identity": 1}


def ones_of_shape(b: Builder) -> str:
    shape = b.constant([1, BATCH, UNITS])
    return b.node("ConstantOfShape", [shape], value=helper.make_tensor("v", 1, [1], [1.0]))


def zero_times_infinity(b: Builder) -> str:
    state = b.floats("s", (1, BATCH, UNITS), [1, "B", UNITS])
    endless = b.node("Div", [state, b.constant(0, np.float32)])
    return b.node("Mul", [endless, b.constant(np.zeros((1, 1, UNITS)), np.float32)])


def zeros_and_ones(b: Builder) -> str:
    halves = [b.constant(np.full((1, BATCH, UNITS // 2), n), np.float32) for n in (0, 1)]
    return b.node("Concat", halves, axis=2)


@pytest.mark.parametrize("other", [ones_of_shape, zero_times_infinity, zeros_and_ones])
def test_a_state_that_is_not_zero_for_certain_stays(other: Callable[[Builder], str]) -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    b.output(b.recurrent("GRU", x, WIDTH, UNITS, initial=[other(b)])[0], "y")
    layer = next(node for node in formed(b).structure.graph.node if node.op_type == "GRU")
    assert len(layer.input) == 6


def test_adding_a_computed_zero_is_nothing_and_adding_a_stretch_of_zeros_is_not() -> None:
    b = Builder()
    x = b.floats("x", (STEPS, 1, WIDTH), ["T", 1, WIDTH])
    steps = b.node("Gather", [b.node("Shape", [x]), b.constant(0)])
    zero = b.node("Cast", [b.node("Mul", [steps, b.constant(0)])], to=TensorProto.FLOAT)
    b.output(b.node("Add", [zero, x]), "same")
    b.output(b.node("Add", [x, b.constant(np.zeros((BATCH, 1)), np.float32)]), "stretched")
    assert operators(formed(b)) == {"Add": 1, "Identity": 3}


@pytest.mark.parametrize("index", [0, 1, -1])
@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_one_state_taken_out_of_a_stack_is_read_directly(kind: str, index: int) -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    states = [b.recurrent(kind, x, WIDTH, UNITS)[1] for _ in range(2)]
    stack = b.node("Concat", states, axis=0)
    b.output(b.node("Gather", [stack, b.constant(index)], axis=0), "y")
    made = formed(b)
    assert operators(made) == {kind: 1, "Gather": 1, "Identity": 1}
    (gather,) = (node for node in made.structure.graph.node if node.op_type == "Gather")
    assert gather.input[0] == states[index]


@pytest.mark.parametrize("case", ["two directions", "another axis", "two entries", "all steps"])
def test_what_is_no_single_state_of_a_stack_is_read_as_before(case: str) -> None:
    b = Builder()
    x = b.floats("x", (1, BATCH, WIDTH), [1, "B", WIDTH])
    direction = "bidirectional" if case == "two directions" else "forward"
    which = 0 if case == "all steps" else 1
    states = [b.recurrent("GRU", x, WIDTH, UNITS, direction)[which] for _ in range(2)]
    axis = 1 if case == "another axis" else 0
    chosen = b.constant([0, 1] if case == "two entries" else 1)
    b.output(b.node("Gather", [b.node("Concat", states, axis=axis), chosen], axis=axis), "y")
    assert operators(formed(b))["Concat"] == 1


def test_what_nothing_reads_is_gone_also_from_the_outputs_of_layers() -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    outputs = b.recurrent("LSTM", x, WIDTH, UNITS)
    b.node("Tanh", [b.node("Relu", [outputs[2]])])
    b.output(outputs[1], "y")
    parts = split_constants(b.model())
    parts.constants["apart"] = np.zeros(2)
    drop_unread(parts)
    assert operators(parts) == {"LSTM": 1, "Identity": 1}
    assert list(parts.structure.graph.node[0].output) == ["", outputs[1]]
    assert set(parts.constants) == set(parts.structure.graph.node[0].input) - {"x", ""}
    found = run(merge_constants(parts), b.feeds)["y"]
    np.testing.assert_array_equal(found, run(b.model(), b.feeds)["y"])
