"""Sizes of axes: their own, and those that they have where several lie in one tensor."""

from __future__ import annotations

import numpy as np

from isslim.compress.onnx.model.layouts import Block
from isslim.compress.onnx.rewrite.sizes import Sizes, read_sizes
from isslim.compress.pruning.axes import select_components
from tests.compress.onnx.rewrite.made import UNITS, tagger, traced

FORWARD, BACKWARD = "units:lstm_0.forward", "units:lstm_0.backward"


def sizes(forward: int, backward: int) -> tuple[Sizes, tuple[int, ...]]:
    """The sizes of a layer that kept so many units, and the numbers of its axes."""
    trace, arrays, meaning = traced(tagger())
    keep = {FORWARD: np.arange(forward), BACKWARD: np.arange(backward)}
    small, _ = select_components(arrays, meaning.declaration, keep)
    assert read_sizes(meaning, small) == {FORWARD: forward, BACKWARD: backward}
    return Sizes.of(trace.pool, meaning, small), trace.layers[0].axes


def test_axes_in_one_tensor_are_as_large_as_the_largest_of_them() -> None:
    found, _ = sizes(1, 3)
    assert found.components == {FORWARD: 1, BACKWARD: 3}
    assert found.placed == {FORWARD: 3, BACKWARD: 3}
    assert found.shrunk == {FORWARD, BACKWARD}


def test_an_axis_that_keeps_all_has_not_shrunk() -> None:
    found, (forward, backward) = sizes(UNITS, 2)
    assert found.shrunk == {BACKWARD}
    assert found.placed == {FORWARD: UNITS, BACKWARD: UNITS}
    assert found.changes((Block(backward, UNITS),))
    assert not found.changes((Block(forward, UNITS), Block(None, 3)), ())


def test_a_dimension_is_as_wide_as_its_blocks_together() -> None:
    found, (forward, backward) = sizes(1, 2)
    blocks = (Block(None, 5), Block(forward, UNITS), Block(backward, UNITS))
    assert found.width(blocks) == 5 + 2 + 2
    assert found.width(()) == 0
    assert [found.name(block) for block in blocks] == [None, FORWARD, BACKWARD]
