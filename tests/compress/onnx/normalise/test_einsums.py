"""An Einsum rewritten as a product gives what numpy gives."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from isslim.compress.onnx.model.split_model import merge_constants, split_constants
from isslim.compress.onnx.normalise.einsums import einsums_as_products
from tests.compress.onnx.proving import run

SIZES = dict(zip("abcdhk", (2, 3, 4, 5, 6, 7), strict=True))
PRODUCTS = [
    "abh,hk->abk",
    "abh,ach->abc",
    "abc,ach->abh",
    "ah,ah->a",
    "h,hk->k",
    "ah,h->a",
    "abcd,akcd->cabk",
    "kh,abh->kab",
]
OTHERS = [
    "ab,ab->ab",
    "abh,hk->ak",
    "abh,bhk->ak",
    "ab,cd->abcd",
    "...h,hk->...k",
    "abch,ahk->abck",
]


def made(equation: str, opset: int, constants: str = "") -> tuple[set[str], np.ndarray, np.ndarray]:
    """Operators after rewriting, what they give, and what numpy gives."""
    rng = np.random.default_rng(0)
    letters = equation.replace("...", "a").split("->")[0].split(",")
    values = {
        name: rng.standard_normal([SIZES[c] for c in own])
        for name, own in zip("xy", letters, strict=True)
    }
    values = {name: value.astype(np.float32) for name, value in values.items()}
    expected = np.einsum(equation, *values.values())
    stored = [
        numpy_helper.from_array(value, name) for name, value in values.items() if name in constants
    ]
    values = {name: value for name, value in values.items() if name not in constants}
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
        for name, value in values.items()
    ]
    node = helper.make_node("Einsum", ["x", "y"], ["z"], equation=equation)
    graph = helper.make_graph(
        [node],
        "g",
        ports,
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, expected.shape)],
        stored,
    )
    parts = split_constants(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    )
    einsums_as_products(parts)
    return (
        {each.op_type for each in parts.structure.graph.node},
        run(merge_constants(parts), values)["z"],
        expected,
    )


@pytest.mark.parametrize("opset", [12, 17])
@pytest.mark.parametrize("equation", PRODUCTS)
def test_products_are_rewritten_and_equal(equation: str, opset: int) -> None:
    operators, found, expected = made(equation, opset)
    assert "Einsum" not in operators
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("equation", OTHERS)
def test_what_is_no_product_stays(equation: str) -> None:
    operators, found, expected = made(equation, 17)
    assert operators == {"Einsum"}
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "constants"),
    [
        ("abc,cdh->abdh", "y"),
        ("abcd,cdh->abh", "y"),
        ("hab,bac->ch", "x"),
        ("ab,ab->", "y"),
        ("c,cdh->hd", "y"),
        ("abh,hk->abk", "y"),
    ],
)
def test_constants_of_several_letters_are_taken_as_matrices(equation: str, constants: str) -> None:
    operators, found, expected = made(equation, 17, constants)
    assert "Einsum" not in operators
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
