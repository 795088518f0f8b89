"""Arrays of a graph in canonical form: which there are, of which axes, and what sites read."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.onnx.model.layouts import Block
from isslim.compress.onnx.model.recurrent import view
from isslim.compress.onnx.rewrite.named_arrays import LayerSite, canonical, segments, uncanonical
from isslim.compress.onnx.trace.edits import Product
from isslim.compress.pruning.axes import Segment
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.rewrite.made import UNITS, WIDTH, tagger, traced

FORWARD, BACKWARD = "units:lstm_0.forward", "units:lstm_0.backward"


def test_a_layer_and_its_reader_are_matrices_with_named_axes() -> None:
    b = tagger()
    _, arrays, meaning = traced(b)
    declaration = meaning.declaration
    declaration.check(arrays)
    assert declaration.axes == {FORWARD: UNITS, BACKWARD: UNITS}
    w, r, bias = (b.constants[name] for name in b.nodes[0].input[1:4])
    for index, (direction, axis) in enumerate([("forward", FORWARD), ("backward", BACKWARD)]):
        name = f"lstm_0.{direction}"
        np.testing.assert_array_equal(arrays[f"{name}.weight"], w[index])
        np.testing.assert_array_equal(arrays[f"{name}.recurrence"], r[index])
        both = bias[index][: 4 * UNITS] + bias[index][4 * UNITS :]
        np.testing.assert_array_equal(arrays[f"{name}.bias"], both)
        gates, own = (Segment(axis, UNITS, 4),), (Segment(axis, UNITS),)
        assert declaration.dimensions[f"{name}.weight"] == (gates, (Segment(None, WIDTH),))
        assert declaration.dimensions[f"{name}.recurrence"] == (gates, own)
        assert declaration.dimensions[f"{name}.bias"] == (gates,)
    matrix, added = b.nodes[3].input[1:3]
    np.testing.assert_array_equal(arrays[matrix], b.constants[matrix])
    np.testing.assert_array_equal(arrays[added], b.constants[added])
    columns = (Segment(FORWARD, UNITS), Segment(BACKWARD, UNITS))
    assert declaration.dimensions[matrix] == ((Segment(None, 2),), columns)
    assert [site.name for site in declaration.sites] == [
        "lstm_0.forward",
        "lstm_0.backward",
        matrix,
    ]
    assert declaration.sites[2].bias == added
    assert meaning.biases == {added: 1.0}
    assert meaning.created == {}


@pytest.mark.parametrize(
    ("kind", "reset", "sites"),
    [
        ("LSTM", 0, [""]),
        ("RNN", 0, [""]),
        ("GRU", 1, [".input", ".recurrent"]),
        ("GRU", 0, [".input", ".recurrent", ".candidate"]),
    ],
)
def test_a_layer_has_a_site_for_each_sum_of_products(
    kind: str, reset: int, sites: list[str]
) -> None:
    more = {"linear_before_reset": reset} if kind == "GRU" else {}
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    below = b.squeeze(b.recurrent("RNN", x, WIDTH, UNITS)[0], 1)
    above = b.recurrent(kind, below, UNITS, UNITS, **more)[0]
    seen = view(b.nodes[-1])
    assert seen is not None
    assert [site.of("a.forward") for site in LayerSite.all_of(seen)] == [
        f"a.forward{site}" for site in sites
    ]
    b.output(b.node("MatMul", [b.squeeze(above, 1), b.weights(UNITS, 2)]), "y", ["T", "B", 2])
    _, _, meaning = traced(b)
    name = f"{kind.lower()}_{b.nodes.index(seen.node)}.forward"
    found = [site.name for site in meaning.declaration.sites if site.name.startswith(name)]
    assert found == [f"{name}{site}" for site in sites]


def test_two_products_with_one_matrix_get_no_bias_since_one_would_not_do_for_both() -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    states = b.recurrent("LSTM", x, WIDTH, UNITS)[1:]
    matrix = b.weights(UNITS, 2)
    products = [b.node("Gemm", [b.squeeze(state, 0), matrix]) for state in states]
    b.output(b.node("Sub", products), "y", ["B", 2])
    _, _, meaning = traced(b)
    assert [len(each) for each in meaning.products.values()] == [2]
    assert meaning.created == {}
    (site,) = (site for site in meaning.declaration.sites if site.name == matrix)
    assert site.bias is None


def test_layers_with_the_same_weights_are_one_and_so_is_a_matrix_that_two_read() -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    weights = [b.weights(1, 4 * UNITS, WIDTH), b.weights(1, 4 * UNITS, UNITS)]
    matrix, total = b.weights(UNITS, 2), None
    for value in (x, b.node("Neg", [x])):
        b.node("LSTM", [value, *weights], [f"steps{len(b.nodes)}"], hidden_size=UNITS)
        steps = b.squeeze(b.nodes[-1].output[0], 1)
        one = b.node("MatMul", [steps, matrix])
        total = one if total is None else b.node("Add", [total, one])
    b.output(str(total), "y", ["T", "B", 2])
    _, arrays, meaning = traced(b)
    assert [len(layers) for layers in meaning.layers.values()] == [2]
    assert [len(products) for products in meaning.products.values()] == [2]
    assert meaning.created == {}  # one bias would not do for both
    assert len(meaning.declaration.axes) == 1
    np.testing.assert_array_equal(arrays[matrix], b.constants[matrix].T)


@pytest.mark.parametrize("opset", [10, 11])
def test_a_gemm_without_a_bias_may_get_one_where_its_version_allows(opset: int) -> None:
    b = Builder(opset)
    last = b.squeeze(b.recurrent("GRU", b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH]),
                                 WIDTH, UNITS)[1], 0)  # fmt: skip
    matrix = b.weights(UNITS, 2)
    given = [last, matrix] if opset >= 11 else [last, matrix, b.constant(np.zeros(2), np.float32)]
    b.output(b.node("Gemm", given, alpha=2.0, beta=3.0), "y", ["B", 2])
    _, arrays, meaning = traced(b)
    (gemm,) = (node for node in b.nodes if node.op_type == "Gemm")
    if opset >= 11:
        assert meaning.created == {gemm.output[0]: f"{matrix}.bias"}
        np.testing.assert_array_equal(arrays[f"{matrix}.bias"], np.zeros(2))
    else:
        assert meaning.created == {}
        assert meaning.biases == {given[2]: 1.5}  # in terms of A B: beta / alpha


def test_neighbours_that_stay_are_one_segment() -> None:
    trace, _, _ = traced(tagger())
    axis = trace.layers[0].axes[0]
    blocks = (Block(None, 2), Block(None, 3), Block(axis, UNITS), Block(None, 1))
    assert segments(trace.pool, blocks) == (
        Segment(None, 5),
        Segment(FORWARD, UNITS),
        Segment(None, 1),
    )


@pytest.mark.parametrize("gives", [0, 1])
def test_a_kernel_of_one_point_is_a_matrix(gives: int) -> None:
    value = np.arange(6.0).reshape(2, 3, 1, 1)
    product = Product("n", 1, "m", 1 - gives, gives, "x", 0, ())
    expected = value[:, :, 0, 0]
    np.testing.assert_array_equal(canonical(value, product), expected.T if gives else expected)


def test_components_are_numbered_where_they_are_selected_by_number() -> None:
    b = Builder()
    state = b.floats("h", (1, BATCH, UNITS), [1, "B", UNITS])
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    outputs = b.recurrent("GRU", x, WIDTH, UNITS, initial=[state])
    b.output(b.node("MatMul", [b.squeeze(outputs[0], 1), b.weights(UNITS, 2)]), "y", ["T", "B", 2])
    _, arrays, meaning = traced(b)
    name = "units:gru_0.forward"
    np.testing.assert_array_equal(arrays[f"{name}.kept"], np.arange(UNITS))
    assert meaning.declaration.dimensions[f"{name}.kept"] == ((Segment(name, UNITS),),)


@pytest.mark.parametrize(("shape", "gives"), [((4, 3), 1), ((4, 3), 0), ((4, 3, 2, 5), 0)])
def test_a_constant_comes_back_from_its_canonical_form(shape: tuple[int, ...], gives: int) -> None:
    value = np.random.default_rng(0).normal(size=shape)
    product = Product("n", 1, "m", 1 - gives, gives, "x", 0, ())
    made = canonical(value, product)
    assert made.shape == (value.size // shape[1 - gives], shape[1 - gives])
    np.testing.assert_array_equal(uncanonical(made, product, shape[2:]), value)
