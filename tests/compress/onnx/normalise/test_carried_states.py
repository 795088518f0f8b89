"""States that the caller carries: the same shapes, and a text read in pieces or at once."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from isslim.compress.onnx.model.split_model import merge_constants, split_constants
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.carried_states import (
    carried_states,
    mark_states,
    state_outputs,
)
from isslim.compress.onnx.normalise.onnx_reader import simplified
from tests.compress.onnx.drawing import BATCH, Builder
from tests.compress.onnx.proving import (
    Feeds,
    assert_cut_equals_masked,
    cut,
    run,
    some,
)

UNITS = (5, 7)


def streaming(
    *, stacked: bool, kind: str = "LSTM", direction: str = "forward"
) -> tuple[ModelProto, Feeds]:
    """Two layers whose states the caller carries, each by itself or in one tensor per layer."""
    b = Builder()
    value, width = b.floats("x", (6, BATCH, 3), ["T", "B", 3]), 3
    count = 2 if direction == "bidirectional" else 1
    for index, units in enumerate(UNITS):
        number = 2 if kind == "LSTM" else 1
        shape = (count, BATCH, units)
        if stacked:
            state = b.floats(f"in_{index}", (number, *shape), [number, count, "B", units])
            initial = [b.node("Gather", [state, b.constant(i)], axis=0) for i in range(number)]
        else:
            initial = [
                b.floats(f"in_{index}_{i}", shape, [count, "B", units]) for i in range(number)
            ]
        names = None
        if not stacked:
            names = [f"steps_{index}", *(f"out_{index}_{i}" for i in range(number))]
        outputs = b.recurrent(kind, value, width, units, direction, initial=initial, outputs=names)
        if stacked:
            b.output(
                b.node("Concat", [b.unsqueeze(s, 0) for s in outputs[1:]], axis=0),
                f"out_{index}",
                [number, count, "B", units],
            )
        else:
            for name in outputs[1:]:
                b.outputs.append(_port(name, [count, "B", units]))
        turned = b.node("Transpose", [outputs[0]], perm=[0, 2, 1, 3])
        value, width = b.node("Reshape", [turned, b.constant([0, 0, -1])]), count * units
    b.output(b.node("MatMul", [value, b.weights(width, 2)]), "y", ["T", "B", 2])
    return simplified(b.model()), b.feeds


def _port(name: str, shape: list) -> object:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def carried(model: ModelProto, feeds: Feeds, pieces: list[int]) -> np.ndarray:
    """Outputs of a text that is sent in pieces, states handed on."""
    state = {name: value for name, value in feeds.items() if name.startswith("in_")}
    found, start = [], 0
    for length in pieces:
        made = run(model, {**state, "x": feeds["x"][start : start + length]})
        state = {name: made[name.replace("in_", "out_")] for name in state}
        found.append(made["y"])
        start += length
    return np.concatenate(found)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("stacked", [False, True])
def test_a_cut_graph_carries_states_of_the_callers_shapes(kind: str, stacked: bool) -> None:
    model, feeds = streaming(stacked=stacked, kind=kind)
    network = assert_cut_equals_masked(model, feeds)
    assert len(network.declaration().axes) == 2
    small = cut(network, some(network, 3)).model()
    np.testing.assert_allclose(
        carried(small, feeds, [2, 1, 3]), carried(small, feeds, [6]), rtol=1e-5, atol=1e-5
    )


def test_what_the_caller_says_of_removed_units_is_not_heard_and_comes_back_as_zero() -> None:
    model, feeds = streaming(stacked=False)
    network = GraphNetwork.from_model(model)
    keep = some(network, 3)
    small = cut(network, keep).model()
    axis = next(iter(keep))
    gone = np.setdiff1d(np.arange(UNITS[0]), keep[axis])
    other = {name: value.copy() for name, value in feeds.items()}
    other["in_0_0"][:, :, gone] = 100
    other["in_0_1"][:, :, gone] = -100
    first, second = run(small, feeds), run(small, other)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert not first["out_0_0"][:, :, gone].any()
    assert first["out_0_0"][:, :, keep[axis]].all()


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_states_are_shown_at_their_new_size_when_that_is_asked_for(direction: str) -> None:
    model, feeds = streaming(stacked=False, direction=direction)
    network = GraphNetwork.from_model(model)
    keep = {axis: np.arange(0, size, 2) for axis, size in network.declaration().axes.items()}
    adapted, exposed = cut(network, keep).model(), cut(network, keep).model(keep_state_shapes=False)
    small = {
        name: value[:, :, ::2] if name.startswith("in_") else value for name, value in feeds.items()
    }
    expected, made = run(adapted, feeds), run(exposed, small)
    np.testing.assert_allclose(made["y"], expected["y"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        made["out_1_1"], expected["out_1_1"][:, :, ::2], rtol=1e-6, atol=1e-6
    )
    sizes = {
        port.name: port.type.tensor_type.shape.dim[2].dim_value for port in exposed.graph.input
    }
    assert sizes["in_0_0"] == 3
    assert sizes["in_1_1"] == 4
    assert not any(node.op_type == "Pad" for node in exposed.graph.node)


def test_states_in_one_tensor_keep_their_shapes_even_when_new_ones_are_asked_for() -> None:
    model, feeds = streaming(stacked=True)
    network = GraphNetwork.from_model(model)
    small = cut(network, some(network, 1))
    kept, asked = run(small.model(), feeds), run(small.model(keep_state_shapes=False), feeds)
    for name in kept:
        np.testing.assert_array_equal(kept[name], asked[name])


def test_a_layer_whose_state_is_all_that_the_graph_gives_is_left_alone() -> None:
    b = Builder()
    state = b.floats("in", (1, BATCH, 4), [1, "B", 4])
    b.recurrent(
        "GRU",
        b.floats("x", (3, BATCH, 2), ["T", "B", 2]),
        2,
        4,
        initial=[state],
        outputs=["steps", "out"],
    )
    b.outputs.append(_port("out", [1, "B", 4]))
    (axis,) = GraphNetwork.from_model(simplified(b.model())).report()
    assert axis.reasons == (
        "it reaches the graph's outputs only, as a state that the caller carries",
    )


def test_a_decoder_that_starts_from_its_encoders_state_shares_its_units() -> None:
    b = Builder()
    first = b.recurrent("LSTM", b.floats("x", (4, BATCH, 3), ["T", "B", 3]), 3, 5)
    second = b.recurrent(
        "LSTM", b.floats("z", (2, BATCH, 2), ["S", "B", 2]), 2, 5, initial=first[1:]
    )
    b.output(b.node("MatMul", [b.squeeze(second[0], 1), b.weights(5, 2)]), "y", ["S", "B", 2])
    network = assert_cut_equals_masked(simplified(b.model()), b.feeds)
    (axis,) = network.report()
    assert len(axis.layers) == 2
    assert not axis.reasons


def test_an_initial_state_that_a_matrix_makes_loses_the_rows_of_removed_units() -> None:
    b = Builder()
    seed = b.node(
        "Add",
        [b.node("MatMul", [b.floats("z", (BATCH, 2), ["B", 2]), b.weights(2, 5)]), b.weights(5)],
    )
    outputs = b.recurrent(
        "GRU", b.floats("x", (4, BATCH, 3), ["T", "B", 3]), 3, 5, initial=[b.unsqueeze(seed, 0)]
    )
    b.output(b.node("MatMul", [b.squeeze(outputs[0], 1), b.weights(5, 2)]), "y", ["T", "B", 2])
    network = assert_cut_equals_masked(simplified(b.model()), b.feeds)
    small = cut(network, some(network, 0)).model()
    assert [2, 5] not in [list(tensor.dims) for tensor in small.graph.initializer]


@pytest.mark.parametrize("stacked", [False, True])
def test_marked_graphs_give_exactly_what_they_gave_and_markers_stand_behind_layers(
    stacked: bool,
) -> None:
    model, feeds = streaming(stacked=stacked)
    parts = split_constants(model)
    markers = mark_states(parts)
    made_by = {name: node for node in parts.structure.graph.node for name in node.output}
    assert len(markers) == 4  # two states of two layers
    for marker in markers:
        assert made_by[marker].op_type == "Identity"
        assert made_by[made_by[marker].input[0]].op_type == "LSTM"
    before, after = run(model, feeds), run(merge_constants(parts), feeds)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def test_states_in_and_out_are_paired_where_one_begins_the_other() -> None:
    parts = split_constants(streaming(stacked=False)[0])
    outputs = {f"out_{layer}_{state}" for layer in (0, 1) for state in (0, 1)}
    assert state_outputs(parts) == outputs
    assert carried_states(parts) == {name: name.replace("out", "in") for name in outputs}
    parts = split_constants(streaming(stacked=True)[0])
    assert carried_states(parts) == {"out_0": "in_0", "out_1": "in_1"}


@pytest.mark.parametrize("case", ["constant state", "steps", "half computed", "swapped", "read"])
def test_what_only_looks_like_a_carried_state_is_told_from_one(case: str) -> None:
    b = Builder()
    x = b.floats("x", (3, BATCH, 2), ["T", "B", 2])
    shape = (1, BATCH, 4)
    given = [b.floats(f"in_{i}", shape, [1, "B", 4]) for i in range(2)]
    if case == "constant state":
        given[1] = b.constant(np.ones(shape), np.float32)
    if case == "half computed":
        given[1] = b.node("Tanh", [given[1]])
    if case == "swapped":
        given.reverse()
    outputs = b.recurrent("LSTM", x, 2, 4, initial=given, outputs=["steps", "h", "c"])
    both = b.node("Concat", outputs[1:], axis=0)
    b.output(outputs[0] if case == "steps" else both, "y", [2, "B", 4])
    b.output(b.node("Relu", [both]) if case == "read" else outputs[1], "z", ["N", "B", 4])
    parts = split_constants(b.model())
    states, pairs = state_outputs(parts), carried_states(parts)
    first = given[0]
    expected = {
        "constant state": ({"z"}, {"z": first}),
        "steps": ({"z"}, {"z": first}),
        "half computed": ({"z"}, {"z": first}),
        "swapped": ({"y", "z"}, {"z": "in_1"}),  # a stack of two begins with no single input
        "read": ({"y"}, {}),
    }[case]
    assert (states, pairs) == expected
    mark_states(parts)
    before, after = run(b.model(), b.feeds), run(merge_constants(parts), b.feeds)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
