"""Products of sizes of which not every one is known."""

from __future__ import annotations

import pytest

from isslim.compress.onnx.model.symbols import Size, divided, multiplied


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["T", 2, "B", 3], [6, "B", "T"]),
        ([multiplied(["T", "B"]), 4], [2, "B", multiplied([2, "T"])]),
        ([1, "T"], ["T"]),
        ([3, 4], [12]),
    ],
)
def test_products_of_the_same_factors_are_equal_in_any_order(
    one: list[Size], other: list[Size]
) -> None:
    assert multiplied(one) == multiplied(other)


def test_different_products_differ() -> None:
    assert multiplied(["T", "T"]) != multiplied(["T"])
    assert multiplied(["T", 2]) != multiplied(["T", 3])
    assert multiplied(["T", 0]) == 0


def test_a_product_is_divided_by_its_factors_only() -> None:
    assert divided(multiplied(["T", "B", 6]), multiplied(["B", 2])) == multiplied(["T", 3])
    assert divided("T", "T") == 1
    assert divided("T", 2) is None
    assert divided(5, 2) is None
    assert divided("T", 0) is None
