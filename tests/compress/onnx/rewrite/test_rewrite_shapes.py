"""Every number that hides a size is rewritten: the smaller graph equals numpy's own selection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from isslim.compress.onnx.model.split_model import SplitModel, merge_constants
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.compress.onnx.rewrite.rewrite_shapes import resize
from isslim.compress.onnx.rewrite.sizes import Sizes
from isslim.compress.onnx.rewrite.write_weights import write_weights
from isslim.compress.pruning.axes import select_components
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import run
from tests.compress.onnx.rewrite.made import traced

UNITS, KEPT = 6, np.array([0, 2, 3])


def layer(b: Builder, name: str = "x") -> str:
    x = b.floats(name, (STEPS, BATCH, 3), ["T", "B", 3])
    return b.squeeze(b.recurrent("GRU", x, 3, UNITS)[0], 1)


def target(b: Builder) -> str:
    """A Reshape whose target is a constant that holds the number of units."""
    return b.node("Reshape", [layer(b), b.constant([-1, UNITS])])


def computed_target(b: Builder) -> str:
    """A Reshape whose target is put together at run time from sizes and a constant."""
    value = layer(b)
    sizes = b.node("Slice", [b.node("Shape", [value]), b.constant([0]), b.constant([2])])
    steps, batch = b.split(sizes, [1, 1], 0)
    rows = b.node("Mul", [steps, batch])
    return b.node("Reshape", [value, b.node("Concat", [rows, b.constant([UNITS])], axis=0)])


def bounds(b: Builder) -> str:
    """A Slice that cuts between two runs of units that lie side by side."""
    both = b.node("Concat", [layer(b), layer(b, "z")], axis=-1)
    first = [b.constant([each]) for each in (0, UNITS, -1)]
    last = [b.constant([each]) for each in (UNITS, 2 * UNITS, -1)]
    return b.node("Sub", [b.node("Slice", [both, *first]), b.node("Slice", [both, *last])])


def shares(b: Builder) -> str:
    """A Split into the units of two layers."""
    both = b.node("Concat", [layer(b), layer(b, "z")], axis=-1)
    return b.node("Sub", b.split(both, [UNITS, UNITS], -1))


def channels(b: Builder) -> str:
    """A convolution of each unit by itself."""
    steps = b.node("Transpose", [layer(b)], perm=[1, 2, 0])
    kernel = [b.weights(UNITS, 1, 3), b.weights(UNITS)]
    spread = b.node("Conv", [steps, *kernel], group=UNITS, pads=[1, 1])
    return b.node("Transpose", [spread], perm=[2, 0, 1])


def stranger(b: Builder) -> str:
    """A tensor of the caller that is as large as the units were."""
    return b.node("Add", [layer(b), b.floats("other", (BATCH, UNITS), ["B", UNITS])])


def wide_stranger(b: Builder) -> str:
    """A tensor of the caller that is as large as the units of two layers side by side."""
    both = b.node("Concat", [layer(b), layer(b, "z")], axis=-1)
    added = b.node("Add", [both, b.floats("other", (BATCH, 2 * UNITS), ["B", 2 * UNITS])])
    return b.node("Sub", b.split(added, [UNITS, UNITS], -1))


WAYS: dict[str, tuple[Callable[[Builder], str], str]] = {
    "target": (target, "Reshape"),
    "computed target": (computed_target, "Where"),
    "bounds": (bounds, "Slice"),
    "shares": (shares, "Split"),
    "channels": (channels, "Conv"),
    "stranger": (stranger, "Gather"),
    "wide stranger": (wide_stranger, "Gather"),
}


CASES = [(way, opset) for way in WAYS for opset in (9, 11, 13, 17)]
CASES.remove(("bounds", 9))  # before version 10 a Slice has its bounds as attributes: see below
CASES.remove(("computed target", 9))


@pytest.mark.parametrize(("way", "opset"), CASES)
def test_a_smaller_graph_gives_what_the_whole_one_gives_with_the_units_at_zero(
    way: str, opset: int
) -> None:
    build, operator = WAYS[way]
    b = Builder(opset, np.random.default_rng(2))
    b.output(b.node("MatMul", [build(b), b.weights(UNITS, 2)]), "y")
    made = run(b.model(), b.feeds)["y"]
    for index in range(made.ndim):
        b.outputs[0].type.tensor_type.shape.dim.add().dim_param = f"d{index}"
    model = b.model()
    trace, arrays, meaning = traced(b)
    keep = dict.fromkeys(meaning.declaration.axes, KEPT)
    assert keep
    small, _ = select_components(arrays, meaning.declaration, keep)
    structure = ModelProto()
    structure.CopyFrom(trace.parts.structure)
    parts = SplitModel(structure, dict(trace.parts.constants))
    sizes = Sizes.of(trace.pool, meaning, small)
    write_weights(parts, trace, meaning, small, sizes)
    resize(parts, trace, small, sizes, keep_state_shapes=True)
    written = merge_constants(parts)
    assert operator in [node.op_type for node in written.graph.node]
    reference = GraphNetwork.from_model(simplified(model)).masked_reference(keep)
    expected, found = run(reference, b.feeds)["y"], run(written, b.feeds)["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(made - expected).max() > 0.1  # the removed units did matter


def test_bounds_that_are_attributes_are_rewritten_too() -> None:
    b = Builder(9, np.random.default_rng(2))
    both = b.node("Concat", [layer(b), layer(b, "z")], axis=-1)
    halves = [b.node("Slice", [both], starts=[s], ends=[e], axes=[2]) for s, e in ((0, 6), (6, 12))]
    b.output(b.node("MatMul", [b.node("Sub", halves), b.weights(UNITS, 2)]), "y", ["T", "B", 2])
    network = GraphNetwork.from_model(simplified(b.model()))
    keep = dict.fromkeys(network.declaration().axes, KEPT)
    small, _ = select_components(network.arrays(), network.declaration(), keep)
    written = network.rebuilt(small).model()
    expected = run(network.masked_reference(keep), b.feeds)["y"]
    np.testing.assert_allclose(run(written, b.feeds)["y"], expected, rtol=1e-5, atol=1e-5)
