"""Narrow layers in a graph: where they may stand, what is written, and what it is compared with."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Array
from isslim.compress.pruning.narrow import insert
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import run
from tests.compress.onnx.rewrite.made import UNITS, WIDTH, tagger


def stacked(kind: str = "LSTM", direction: str = "bidirectional", **more: object) -> Builder:
    """Two layers, of which the second reads the first, and a MatMul with an Add behind them."""
    b = Builder(rng=np.random.default_rng(4))
    count = 2 if direction == "bidirectional" else 1
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    below, width = x, WIDTH
    for _ in range(2):
        steps = b.recurrent(kind, below, width, UNITS, direction, **more)[0]
        turned = b.node("Transpose", [steps], perm=[0, 2, 1, 3])
        below, width = b.node("Reshape", [turned, b.constant([0, 0, count * UNITS])]), count * UNITS
    made = b.node("MatMul", [below, b.weights(width, 6)])
    b.output(b.node("Add", [made, b.weights(6)]), "y", ["T", "B", 6])
    return b


def narrowed(network: GraphNetwork, kept: int) -> tuple[dict[str, Array], axes.NetworkAxes]:
    """Narrow layers of random full-size matrices in all places, of which `kept` directions stay."""
    arrays, declaration = network.arrays(), network.declaration()
    rng = np.random.default_rng(5)
    for place in network.narrow_places():
        arrays, declaration = insert(arrays, declaration, place)
        size = declaration.axes[place.axis]
        arrays[place.weight] = rng.normal(size=(size, size)).astype(np.float32)
        arrays[place.bias] = rng.normal(size=size).astype(np.float32)
    keep = {place.axis: np.arange(kept) for place in network.narrow_places()}
    return axes.select_components(arrays, declaration, keep)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize(
    ("kind", "more"),
    [("LSTM", {}), ("RNN", {}), ("GRU", {"linear_before_reset": 1}), ("GRU", {})],
)
def test_a_narrow_layer_may_stand_before_every_layer_and_matrix(
    kind: str, more: dict[str, object], direction: str
) -> None:
    b = stacked(kind, direction, **more)
    network = GraphNetwork.from_model(simplified(b.model()))
    places = network.narrow_places()
    first, second, matrix = places
    assert [place.axis.split(" of ")[1].split("_")[0] for place in places] == [
        kind.lower(), kind.lower(), "matmul"]  # fmt: skip
    # One for both directions, which read the same.
    count = 2 if direction == "bidirectional" else 1
    assert (len(first.readers), len(second.readers), len(matrix.readers)) == (count, count, 1)
    arrays, declaration = narrowed(network, 2)
    small = network.rebuilt(arrays)
    assert small.narrow_places() == ()
    assert small.declaration().axes == declaration.axes
    small.declaration().check(small.arrays())
    model = small.model()
    onnx.checker.check_model(model, full_check=True)
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    assert len(products) == 4
    # The slow way: every narrow layer multiplied out by hand, in the graph as it was drawn.
    plain = network.arrays()
    for place in places:
        for name, position in place.readers:
            site = next(each for each in declaration.sites if each.name == name)
            wide = arrays[site.readers[position].parameter].astype(np.float64)
            plain[site.readers[position].parameter] = np.float32(wide @ arrays[place.weight])
            plain[str(site.bias)] = np.float32(plain[str(site.bias)] + wide @ arrays[place.bias])
    expected = run(network.rebuilt(plain).model(), b.feeds)["y"]
    np.testing.assert_allclose(run(model, b.feeds)["y"], expected, rtol=1e-4, atol=1e-5)
    whole = run(network.model(), b.feeds)["y"]
    assert np.abs(expected - whole).max() > 0.01  # the narrow layers do something


def test_the_reference_has_no_narrow_layer_and_another_one_differs() -> None:
    b = stacked()
    network = GraphNetwork.from_model(simplified(b.model()))
    small = network.rebuilt(narrowed(network, 3)[0])
    reference = small.masked_reference({})
    assert sum(node.op_type == "MatMul" for node in reference.graph.node) == 1
    found = run(small.model(), b.feeds)["y"]
    np.testing.assert_allclose(run(reference, b.feeds)["y"], found, rtol=1e-4, atol=1e-5)
    # The fault that it is there for: one direction more or less is seen.
    other = network.rebuilt(narrowed(network, 2)[0])
    assert np.abs(run(other.model(), b.feeds)["y"] - found).max() > 1e-3


def test_units_and_directions_go_together() -> None:
    b = stacked()
    network = GraphNetwork.from_model(simplified(b.model()))
    arrays, declaration = narrowed(network, 3)
    units = [axis for axis in declaration.axes if axis.startswith("units:")]
    # Directions of different sizes: the smaller one has dead units, that a narrow layer reads too.
    keep = {axis: np.arange(1 + index % 3) for index, axis in enumerate(units)}
    small = network.rebuilt(axes.select_components(arrays, declaration, keep)[0])
    masked = network.rebuilt(axes.mask_components(arrays, declaration, keep))
    np.testing.assert_allclose(
        run(small.model(), b.feeds)["y"],
        run(masked.masked_reference(keep), b.feeds)["y"],
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


def test_a_rebuilt_network_has_the_narrow_layers_of_its_arrays_alone() -> None:
    network = GraphNetwork.from_model(simplified(stacked().model()))
    first, *others = network.narrow_places()
    arrays, _ = insert(network.arrays(), network.declaration(), first)
    one = network.rebuilt(arrays)
    assert one.narrow_places() == tuple(others)
    assert one.rebuilt(network.arrays()).narrow_places() == network.narrow_places()
    assert len(network.declaration().narrow) == 0


def test_a_gemm_reads_through_a_narrow_layer_too() -> None:
    b = tagger()
    network = GraphNetwork.from_model(simplified(b.model()))
    assert [place.axis for place in network.narrow_places()] == [
        "rank:input of lstm_0", "rank:input of gemm_3"]  # fmt: skip
    small = network.rebuilt(narrowed(network, 2)[0])
    found = run(small.model(), b.feeds)["y"]
    reference = run(small.masked_reference({}), b.feeds)["y"]
    np.testing.assert_allclose(found, reference, rtol=1e-4, atol=1e-5)


def test_there_is_no_place_without_a_bias_or_before_another_operator() -> None:
    b = Builder(rng=np.random.default_rng(6))
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    steps = b.squeeze(b.recurrent("LSTM", x, WIDTH, UNITS)[0], 1)
    # Nothing is added behind this MatMul, and the second matrix stands before what it reads.
    b.output(b.node("MatMul", [steps, b.weights(UNITS, 6)]), "y", ["T", "B", 6])
    columns = b.node("Transpose", [steps], perm=[0, 2, 1])
    left = b.node("MatMul", [b.weights(5, UNITS), columns])
    b.output(b.node("Add", [left, b.weights(5, 1)]), "z", ["T", 5, "B"])
    network = GraphNetwork.from_model(simplified(b.model()))
    assert [place.axis for place in network.narrow_places()] == ["rank:input of lstm_0"]
