"""Which states of the caller may shrink: all of a layer's, straight in and straight out."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from isslim.compress.onnx.rewrite.sizes import Sizes
from isslim.compress.onnx.rewrite.state_sizes import exposable
from isslim.compress.onnx.trace.edits import Restore, Select
from isslim.compress.pruning.axes import select_components
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.rewrite.made import UNITS, WIDTH, traced


def carrying(case: str) -> Builder:
    """A layer whose state the caller carries, in a plain way and in others."""
    b = Builder()
    direction = "bidirectional" if case.startswith("two") else "forward"
    count = 2 if direction == "bidirectional" else 1
    shape = (count, BATCH, UNITS)
    given = [b.floats(f"in_{index}", shape, [count, "B", UNITS]) for index in range(2)]
    read = list(given)
    if case == "moved in":
        read[0] = b.node("Identity", [b.node("Transpose", [given[0]], perm=[0, 1, 2])])
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    outputs = b.recurrent("LSTM", x, WIDTH, UNITS, direction, initial=read,
                          outputs=["steps", "out_0", "out_1"])  # fmt: skip
    turned = b.node("Transpose", [outputs[0]], perm=[0, 2, 1, 3])
    flat = b.node("Reshape", [turned, b.constant([0, 0, -1])])
    b.output(b.node("MatMul", [flat, b.weights(count * UNITS, 2)]), "y", ["T", "B", 2])
    for index, name in enumerate(outputs[1:]):
        if case == "moved out":
            b.output(b.unsqueeze(name, 0), f"state_{index}", [1, count, "B", UNITS])
        else:
            shape_out = [count, "B", UNITS]
            b.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape_out))
    if case == "read twice":
        b.output(b.node("MatMul", [given[0], b.weights(UNITS, 2)]), "z", [count, "B", 2])
    return b


@pytest.mark.parametrize(
    ("case", "kept", "expected"),
    [
        ("plain", [2], 4),
        ("two directions", [2, 2], 4),
        ("two of different sizes", [1, 2], 0),  # one has room for more than it needs
        ("moved in", [2], 0),
        ("moved out", [2], 0),
        ("read twice", [2], 0),
    ],
)
def test_states_shrink_where_they_go_straight_in_and_out(
    case: str, kept: list[int], expected: int
) -> None:
    trace, arrays, meaning = traced(carrying(case))
    names = list(meaning.declaration.axes)
    keep = {name: np.arange(count) for name, count in zip(names, kept, strict=True)}
    small, _ = select_components(arrays, meaning.declaration, keep)
    sizes = Sizes.of(trace.pool, meaning, small)
    found = exposable(trace, sizes.placed, sizes.components)
    assert len(found) == expected
    assert sum(isinstance(edit, Select) for edit in found) == expected / 2
    assert sum(isinstance(edit, Restore) for edit in found) == expected / 2
