"""A file that is written tensor by tensor is the file that onnx itself would read and write."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from isslim.compress.export.drawing import model_of, port
from isslim.compress.export.streaming import Floats, write

SHAPES = {"scalar": (), "empty": (0, 3), "small": (2,), "long " * 40: (1, 2, 3), "wide": (70, 90)}


def values() -> Iterator[tuple[str, Floats]]:
    rng = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        yield name, rng.normal(size=shape).astype(np.float32)


def structure() -> ModelProto:
    ports = [port(name, TensorProto.FLOAT, [2]) for name in "xy"]
    node = helper.make_node("Add", ["x", "small"], ["y"])
    model = model_of(helper.make_graph([node], "g", ports[:1], ports[1:]))
    model.producer_name = "tests"
    return model


def test_the_file_holds_the_structure_and_every_tensor() -> None:
    file = io.BytesIO()
    write(file, structure(), values)
    read = onnx.load_model_from_string(file.getvalue())
    expected = structure()
    expected.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in values())
    assert read == expected
    assert len(file.getvalue()) == expected.ByteSize()


@pytest.mark.parametrize("entries", [26, 27, 28, 4090, 4091, 4092, 4093, 4094, 4095, 4096])
def test_lengths_around_the_ends_of_a_byte_are_written_right(entries: int) -> None:
    value = np.arange(entries, dtype=np.float32)
    file = io.BytesIO()
    write(file, structure(), lambda: iter([("v", value)]))
    (read,) = onnx.load_model_from_string(file.getvalue()).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(read), value)


def test_it_is_written_from_where_the_file_stands_and_of_any_order_in_memory() -> None:
    value = np.arange(6, dtype=np.float32).reshape(2, 3).T
    file = io.BytesIO(b"before")
    file.seek(6)
    write(file, structure(), lambda: iter([("v", value)]))
    assert file.getvalue().startswith(b"before")
    (read,) = onnx.load_model_from_string(file.getvalue()[6:]).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(read), value)
