"""A written graph: the trace that it is written from stays, and the checker accepts it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from isslim.compress.onnx.rewrite.write import write
from isslim.compress.pruning.axes import mask_components, select_components
from tests.compress.onnx.proving import run
from tests.compress.onnx.rewrite.made import tagger, traced


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_graph_of_fewer_units_gives_what_the_whole_one_gives_with_zeros(kind: str) -> None:
    b = tagger(kind)
    trace, arrays, meaning = traced(b)
    before = trace.parts.structure.SerializeToString()
    values = {name: value.copy() for name, value in trace.parts.constants.items()}
    forward, backward = meaning.declaration.axes
    keep = {forward: np.array([0, 3]), backward: np.array([1])}
    small, _ = select_components(arrays, meaning.declaration, keep)
    made = write(trace, meaning, small)
    onnx.checker.check_model(made, full_check=True)
    masked = write(trace, meaning, mask_components(arrays, meaning.declaration, keep))
    found, expected = run(made, b.feeds)["y"], run(masked, b.feeds)["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    whole = run(b.model(), b.feeds)["y"]
    assert np.abs(whole - expected).max() > 0.1
    # Other sizes can be written from the same trace.
    assert trace.parts.structure.SerializeToString() == before
    for name, value in values.items():
        np.testing.assert_array_equal(trace.parts.constants[name], value)
    np.testing.assert_allclose(
        run(write(trace, meaning, arrays), b.feeds)["y"], whole, rtol=1e-5, atol=1e-6
    )
    bytes_of = [len(each.SerializeToString()) for each in (made, write(trace, meaning, arrays))]
    assert bytes_of[0] < bytes_of[1]
