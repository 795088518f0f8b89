"""Bodies are read as forms; what is computed in another way is named."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, helper

from isslim.compress.onnx.model.layouts import Layout
from isslim.compress.onnx.normalise.cells.counting import RUN, Counting
from isslim.compress.onnx.normalise.cells.forms import Form, NotACell
from isslim.compress.onnx.normalise.cells.steps import StepReader

WIDTH = 4
RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(WIDTH, 6)).astype(np.float32)


def read(*nodes: NodeProto, **constants: object) -> Form:
    """The form of `y`, of a step `x` (B, 4) and a tensor `steps` (T, B, 4)."""
    makers = {name: node for node in nodes for name in node.output}
    arrays = {name: np.array(value) for name, value in constants.items()}
    wide = {name for name, array in arrays.items() if array.dtype == np.float64}
    arrays |= {name: arrays[name].astype(np.float32) for name in wide}
    shapes = {"steps": Layout(("T", "B", WIDTH)), "flat": Layout(("T", WIDTH))}
    reader = StepReader(Counting(makers, arrays, shapes, {"run": RUN}), set())
    reader.enter("x", WIDTH)
    return reader.form("y")


def node(operator: str, *inputs: str, **attributes: object) -> NodeProto:
    return helper.make_node(operator, inputs, ["y"], **attributes)


def test_a_gemm_is_a_product_and_a_sum() -> None:
    made = read(node("Gemm", "x", "w", "b", transB=1), w=MATRIX.T, b=np.arange(6.0))
    (matrix,) = made.matrices.values()
    np.testing.assert_array_equal(matrix, MATRIX)
    np.testing.assert_array_equal(made.factors[()], np.arange(6.0))


@pytest.mark.parametrize(
    ("start", "stop", "taken"), [(1, 3, slice(1, 3)), (-2, 2**31 - 1, slice(2, 4))]
)
def test_a_slice_takes_units(start: int, stop: int, taken: slice) -> None:
    made = read(
        helper.make_node("Tanh", ["x"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["all"]),
        node("Slice", "all", "starts", "stops", "axes"),
        w=MATRIX[:, :4],
        starts=[0, start],
        stops=[2**31 - 1, stop],
        axes=[0, 1],
    )
    (matrix,) = made.matrices.values()
    np.testing.assert_array_equal(matrix, MATRIX[:, :4][:, taken])


def test_relu6_over_6_is_a_hard_sigmoid() -> None:
    made = read(
        helper.make_node("Clip", ["x", "low", "high"], ["c"]), node("Div", "c", "high"),
        low=0.0, high=6.0,
    )  # fmt: skip
    assert made.atom is not None
    assert (made.atom.name, made.atom.parameters) == ("HardSigmoid", (1.0, 0.0))


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([node("Conv", "x", "w")], "it computes with Conv"),
        ([node("Add", "x", "outside")], "it reads 'outside'"),
        ([node("Add", "x", "w")], "it reads 'w', which is no row of numbers"),
        ([node("MatMul", "x", "x")], "no constant matrix"),
        ([node("Gemm", "x", "w", alpha=0.5)], "it scales or transposes"),
        ([node("Cast", "x", to=10)], "other numbers than float32"),
        ([node("Clip", "x", min=-1.0, max=1.0)], "it clips between other numbers"),
        ([node("Div", "x", "x")], "it divides by what is not constant"),
        ([node("Gather", "steps", "other")], "does not read the steps one after the other"),
        ([node("Gather", "flat", "run")], "has not three dimensions"),
        ([node("Slice", "x", "one", "two", "zero")], "it takes some of the sequences"),
        ([node("Slice", "x", "run", "two", "zero")], "depends on the data"),
        ([node("Split", "x", axis=0)], "it divides the sequences"),
    ],
)
def test_what_no_cell_does_is_named(nodes: list[NodeProto], reason: str) -> None:
    with pytest.raises(NotACell, match=reason):
        read(*nodes, w=MATRIX, zero=[0], one=[1], two=[2], other=3)
