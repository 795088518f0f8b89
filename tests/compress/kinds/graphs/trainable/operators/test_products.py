"""Products of matrices, in torch and in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compress.kinds.graphs.trainable.same import floats, one


@pytest.mark.parametrize(
    ("first", "second"),
    [((2, 3), (3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((3,), (3, 2)), ((2, 3), (3,))],
)
def test_matrices_and_stacks_of_them(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    one("MatMul", floats(*first), floats(*second, seed=1))


@pytest.mark.parametrize("added", [None, (2, 4), (4,), (2, 1)], ids=str)
@pytest.mark.parametrize("turned", [(0, 0), (1, 1)], ids=str)
def test_gemm(turned: tuple[int, int], added: tuple[int, ...] | None) -> None:
    a, b = floats(2, 3), floats(3, 4, seed=1)
    a, b = (each.T.copy() if turn else each for each, turn in zip((a, b), turned, strict=True))
    c = None if added is None else floats(*added, seed=2)
    settings = {"transA": turned[0], "transB": turned[1], "alpha": 0.5, "beta": 1.5}
    one("Gemm", a, b, c, **settings)


def test_einsum() -> None:
    one("Einsum", floats(2, 3, 4), floats(5, 4, seed=1), equation="bti, ji -> tbj")


def test_product_of_whole_numbers_is_exact() -> None:
    large = np.array([[2**40 + 1, 3]], np.int64)
    one("MatMul", large, np.array([[1], [2]], np.int64), kinds=[7])
