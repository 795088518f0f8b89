"""What converters write around a layer: computed shapes, shared constants, whole sequences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.compress.onnx.normalise.preparing import prepare
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import assert_cut_equals_masked, run

UNITS, WIDTH = 6, 4
FREE = ["T", "B", WIDTH]


def input_of(b: Builder) -> str:
    return b.floats("x", (STEPS, BATCH, WIDTH), FREE)


def layer(b: Builder, x: str, width: int = WIDTH, **more: object) -> str:
    """A layer's steps (T, B, D H)."""
    made = b.recurrent("LSTM", x, width, UNITS, **more)[0]  # type: ignore[arg-type]
    if more.get("direction") != "bidirectional":
        return b.squeeze(made, 1)
    turned = b.node("Transpose", [made], perm=[0, 2, 1, 3])
    return b.node("Reshape", [turned, b.constant([0, 0, -1])])


def numbers(b: Builder, value: str, chosen: list[int] | int) -> str:
    """Some numbers of a tensor's shape."""
    return b.node("Gather", [b.node("Shape", [value]), b.constant(chosen)], axis=0)


def tensordot(b: Builder) -> str:
    """Keras's Dense on three dimensions, as tf2onnx writes it: a product between reshapes."""
    value = layer(b, input_of(b), direction="bidirectional")
    free, contracted = numbers(b, value, [0, 1]), numbers(b, value, [2])
    products = [b.node("ReduceProd", [each], axes=[0], keepdims=1) for each in (free, contracted)]
    rows = b.node("Reshape", [value, b.node("Concat", products, axis=0)])
    made = b.node("MatMul", [rows, b.weights(2 * UNITS, 2)])
    return b.node("Reshape", [made, b.node("Concat", [free, b.constant([2])], axis=0)])


def sequence_wise(b: Builder) -> str:
    """Batch normalisation over (T B, H), as in DeepSpeech 2."""
    value = layer(b, input_of(b))
    steps, batch = (b.unsqueeze(numbers(b, value, index), 0) for index in (0, 1))
    product = b.node("Mul", [steps, batch])
    rows = b.node("Reshape", [value, b.node("Concat", [product, b.constant([-1])], axis=0)])
    scales = [
        b.weights(UNITS),
        b.weights(UNITS),
        b.weights(UNITS),
        b.constant(np.full(UNITS, 0.5), np.float32),
    ]
    back = b.node("Concat", [steps, batch, b.constant([-1])], axis=0)
    made = b.node("Reshape", [b.node("BatchNormalization", [rows, *scales]), back])
    return b.node("MatMul", [made, b.weights(UNITS, 2)])


def repeated_state(b: Builder) -> str:
    """A learned first state, repeated for every sequence."""
    x = input_of(b)
    one = b.constant([1])
    repeats = b.node("Concat", [one, b.unsqueeze(numbers(b, x, 1), 0), one], axis=0)
    states = [b.node("Tile", [b.weights(1, 1, UNITS), repeats]) for _ in range(2)]
    return b.node("MatMul", [layer(b, x, initial=states), b.weights(UNITS, 2)])


def expanded_state(b: Builder) -> str:
    """The same by `expand(-1, B, -1)`, whose sizes of -1 torch replaces by ones in the graph."""
    x = input_of(b)
    wanted = b.node(
        "Concat", [b.constant([-1]), b.unsqueeze(numbers(b, x, 1), 0), b.constant([-1])], axis=0
    )
    kept = b.node("Equal", [wanted, b.constant([-1, -1, -1])])
    target = b.node("Where", [kept, b.constant([1, 1, 1]), wanted])
    state = b.node("Expand", [b.weights(1, 1, UNITS), target])
    return b.node("MatMul", [layer(b, x, initial=[state, state]), b.weights(UNITS, 2)])


def turned_around(b: Builder) -> str:
    """A backward layer over sequences of several lengths, between two of ReverseSequence."""
    x, lengths = input_of(b), b.input("lengths", np.array([5, 3, 1]), ["B"])
    below = layer(b, b.node("ReverseSequence", [x, lengths], time_axis=0, batch_axis=1))
    back = b.node("ReverseSequence", [below, lengths], time_axis=0, batch_axis=1)
    above = layer(b, b.node("Concat", [layer(b, x), back], axis=2), 2 * UNITS)
    return b.node("MatMul", [above, b.weights(UNITS, 2)])


def matrix_over_time(b: Builder) -> str:
    """A matrix whose outputs become the steps of a layer, and one behind which is a softmax."""
    x = b.floats("x", (WIDTH, BATCH, 7), [WIDTH, "B", 7])
    steps = b.node("Transpose", [b.node("MatMul", [x, b.weights(7, STEPS)])], perm=[2, 1, 0])
    value = layer(b, steps)
    heads = b.node("Softmax", [b.node("MatMul", [value, b.weights(UNITS, 3)])], axis=-1)
    mixed = b.node(
        "MatMul",
        [
            b.node("Transpose", [heads], perm=[1, 2, 0]),
            b.node("Transpose", [value], perm=[1, 0, 2]),
        ],
    )
    return b.node("MatMul", [mixed, b.weights(UNITS, 2)])


def shared_bias(b: Builder) -> str:
    """Two layers and two matrices whose biases of zeros are one constant."""
    value, zeros = input_of(b), b.constant(np.zeros((1, 8 * UNITS)), np.float32)
    for width in (WIDTH, UNITS):
        weights = [b.weights(1, 4 * UNITS, width), b.weights(1, 4 * UNITS, UNITS), zeros]
        made = f"steps{width}"
        b.node("LSTM", [value, *weights], [made], hidden_size=UNITS)
        value = b.squeeze(made, 1)
    nothing = b.constant(np.zeros(UNITS), np.float32)
    inner = b.node("Add", [b.node("MatMul", [value, b.weights(UNITS, UNITS)]), nothing])
    left = b.node("Add", [b.node("Relu", [inner]), value])
    other = b.node("Add", [b.node("MatMul", [left, b.weights(UNITS, UNITS)]), nothing])
    return b.node("MatMul", [b.node("Tanh", [other]), b.weights(UNITS, 2)])


def weight_norm(b: Builder) -> str:
    """W = g v / |v|, computed in the graph."""
    x, direction, length = input_of(b), b.weights(4 * UNITS, UNITS), b.weights(4 * UNITS, 1)
    norm = b.node("ReduceL2", [direction], axes=[1], keepdims=1)
    recurrence = b.unsqueeze(b.node("Mul", [length, b.node("Div", [direction, norm])]), 0)
    b.node("LSTM", [x, b.weights(1, 4 * UNITS, WIDTH), recurrence], ["steps"], hidden_size=UNITS)
    return b.node("MatMul", [b.squeeze("steps", 1), b.weights(UNITS, 2)])


def einsum(b: Builder) -> str:
    """Attention and a matrix, each written as an Einsum."""
    value = layer(b, input_of(b))
    scores = b.node("Einsum", [value, value], equation="tbh,sbh->bts")
    mixed = b.node(
        "Einsum", [b.node("Softmax", [scores], axis=-1), value], equation="b t s, s b h -> b t h"
    )
    return b.node("Einsum", [mixed, b.weights(2, UNITS)], equation="bth,kh->btk")


def pyramid(b: Builder) -> str:
    """Pairs of steps put side by side between two layers, as listeners of speech do."""
    x = b.floats("x", (6, BATCH, WIDTH), FREE)
    turned = b.node("Transpose", [layer(b, x)], perm=[1, 0, 2])
    half = b.node("Div", [b.unsqueeze(numbers(b, x, 0), 0), b.constant([2])])
    target = b.node(
        "Concat", [b.unsqueeze(numbers(b, x, 1), 0), half, b.constant([2 * UNITS])], axis=0
    )
    pairs = b.node("Transpose", [b.node("Reshape", [turned, target])], perm=[1, 0, 2])
    return b.node("MatMul", [layer(b, pairs, 2 * UNITS), b.weights(UNITS, 2)])


def each_unit_by_itself(b: Builder) -> str:
    """A convolution with a group for each unit, a normalisation of each, and more steps."""
    channels = b.node("Transpose", [layer(b, input_of(b))], perm=[1, 2, 0])
    kernel = [b.weights(UNITS, 1, 3), b.weights(UNITS)]
    made = b.node("Conv", [channels, *kernel], group=UNITS, kernel_shape=[3], pads=[1, 1])
    made = b.node("InstanceNormalization", [made, b.weights(UNITS), b.weights(UNITS)])
    longer = b.node("Resize", [made, "", b.constant([1, 1, 2], np.float32)], mode="nearest")
    return b.node("MatMul", [b.node("Transpose", [longer], perm=[0, 2, 1]), b.weights(UNITS, 2)])


def stretched_to(b: Builder) -> str:
    """As many steps as a constant shape says, the units among its numbers."""
    channels = b.node("Transpose", [layer(b, input_of(b))], perm=[1, 2, 0])
    longer = b.node("Resize", [channels, "", "", b.constant([BATCH, UNITS, 9])], mode="linear")
    return b.node("MatMul", [b.node("Transpose", [longer], perm=[0, 2, 1]), b.weights(UNITS, 2)])


def last_steps(b: Builder) -> str:
    """The last step of each sequence, by its length and its number."""
    value, lengths = layer(b, input_of(b)), b.input("lengths", np.array([4, 2, 0]), [BATCH])
    places = b.node("Concat", [b.unsqueeze(lengths, 1), b.constant([[0], [1], [2]])], axis=1)
    return b.unsqueeze(
        b.node("MatMul", [b.node("GatherND", [value, places]), b.weights(UNITS, 2)]), 0
    )


def heads(b: Builder) -> str:
    """Keras's attention of several heads: Einsums with constants of three dimensions."""
    value = b.node("Transpose", [layer(b, input_of(b))], perm=[1, 0, 2])
    query, keys, said = (
        b.node("Einsum", [value, b.weights(UNITS, 2, 3)], equation="abc,cde->abde")
        for _ in range(3)
    )
    scores = b.node(
        "Softmax", [b.node("Einsum", [keys, query], equation="aecd,abcd->acbe")], axis=3
    )
    mixed = b.node("Einsum", [scores, said], equation="acbe,aecd->abcd")
    return b.node("Einsum", [mixed, b.weights(2, 3, 2)], equation="abcd,cde->abe")


def halves(b: Builder) -> str:
    """Directions taken apart at half of a size computed at run time, as torch writes `chunk`."""
    value = layer(b, input_of(b), direction="bidirectional")
    _, whole = b.split(b.node("Shape", [value]), [2, 1], 0)
    middle = b.node("Div", [b.node("Add", [whole, b.constant([1])]), b.constant([2])])
    first = b.node("Slice", [value, b.constant([0]), middle, b.constant([2])])
    second = b.node("Slice", [value, middle, whole, b.constant([2])])
    return b.node(
        "Add", [b.node("MatMul", [each, b.weights(UNITS, 2)]) for each in (first, second)]
    )


FORMS: dict[str, tuple[Callable[[Builder], str], int]] = {
    "tensordot": (tensordot, 2),
    "sequence-wise batch norm": (sequence_wise, 1),
    "repeated state": (repeated_state, 1),
    "expanded state": (expanded_state, 1),
    "ReverseSequence": (turned_around, 3),
    "matrix over time": (matrix_over_time, 1),
    "shared bias": (shared_bias, 2),
    "weight norm": (weight_norm, 1),
    "Einsum": (einsum, 1),
    "pyramid": (pyramid, 2),
    "heads": (heads, 1),
    "halves": (halves, 2),
    "each unit by itself": (each_unit_by_itself, 1),
    "stretched": (stretched_to, 1),
    "last steps": (last_steps, 1),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_layer_of_a_form_may_shrink_and_the_cut_is_exact(name: str) -> None:
    write, count = FORMS[name]
    b = Builder()
    b.output(write(b), "y", ["N", "M", 2])
    network = assert_cut_equals_masked(simplified(b.model()), b.feeds)
    assert len(network.report()) == count
    assert [axis.reasons for axis in network.report()] == [()] * count


def test_layers_that_share_all_of_their_weights_stay_one() -> None:
    b = Builder()
    x, weights = (
        input_of(b),
        [b.weights(1, 4 * UNITS, WIDTH), b.weights(1, 4 * UNITS, UNITS), b.weights(1, 8 * UNITS)],
    )
    for index, value in enumerate((x, b.node("Neg", [x]))):
        b.node("LSTM", [value, *weights], [f"steps{index}"], hidden_size=UNITS)
    both = b.node("Concat", [b.squeeze("steps0", 1), b.squeeze("steps1", 1)], axis=2)
    b.output(b.node("MatMul", [both, b.weights(2 * UNITS, 2)]), "y", ["N", "M", 2])
    model = simplified(b.model())
    assert len(model.graph.initializer) == len(b.model().graph.initializer)
    network = assert_cut_equals_masked(model, b.feeds)
    assert len(network.declaration().axes) == 1


def test_batch_first_layers_are_rewritten_to_what_onnx_runtime_runs(tmp_path: object) -> None:
    b = Builder()
    b.recurrent(
        "LSTM",
        b.floats("x", (BATCH, STEPS, WIDTH), ["B", "T", WIDTH]),
        WIDTH,
        UNITS,
        outputs=["a", "h", "c"],
    )
    steps = b.squeeze("a", 1)
    b.output(b.node("MatMul", [steps, b.weights(UNITS, 2)]), "y", ["N", "M", 2])
    steps_first = b.model()
    turned = ModelProto()
    turned.CopyFrom(steps_first)
    lstm, squeeze = turned.graph.node[:2]
    lstm.attribute.append(helper.make_attribute("layout", 1))
    turned.graph.initializer.append(numpy_helper.from_array(np.array([2]), "third"))
    squeeze.input[1] = "third"  # (B, T, 1, H)
    path = tmp_path / "first.onnx"  # type: ignore[operator]
    path.write_bytes(turned.SerializeToString())
    made = prepare(path)
    assert "layout=1" in made.changes
    whole = ModelProto.FromString(made.path.read_bytes())
    # The same layer with its input and output turned by hand.
    expected = run(steps_first, {"x": b.feeds["x"].transpose(1, 0, 2)})["y"].transpose(1, 0, 2)
    np.testing.assert_allclose(run(whole, b.feeds)["y"], expected, rtol=1e-6, atol=1e-6)
    network = assert_cut_equals_masked(simplified(whole), b.feeds)
    assert len(network.declaration().axes) == 1
    assert (
        GraphNetwork.from_model(simplified(turned)).declaration().axes == network.declaration().axes
    )


def test_units_among_the_steps_of_a_layer_are_left_alone_and_its_own_are_not() -> None:
    b = Builder()
    below = layer(b, input_of(b))
    above = layer(b, b.node("Transpose", [below], perm=[2, 1, 0]), STEPS)
    b.inputs[0].type.CopyFrom(
        helper.make_tensor_type_proto(TensorProto.FLOAT, [STEPS, BATCH, WIDTH])
    )
    b.output(b.node("MatMul", [above, b.weights(UNITS, 2)]), "y", ["N", "M", 2])
    network = assert_cut_equals_masked(simplified(b.model()), b.feeds)
    first, second = network.report()
    assert "the dimension of steps or sequences" in first.reasons[0]
    assert second.reasons == ()
