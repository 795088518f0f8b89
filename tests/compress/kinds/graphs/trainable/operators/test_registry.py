"""Which operators there are."""

from __future__ import annotations

from isslim.compress.kinds.graphs.trainable.operators import (
    convolution,
    elementwise,
    moving,
    nested,
    normalising,
    parts,
    products,
    quantized,
    recurrent,
    reducing,
    resizing,
    scattering,
    shapes,
    spectral,
)
from isslim.compress.kinds.graphs.trainable.operators.registry import SUPPORTED
from isslim.compress.onnx.trace.registry import RULES

FAMILIES = (
    *(convolution, elementwise, moving, nested, normalising, parts, products, quantized),
    *(recurrent, reducing, resizing, scattering, shapes, spectral),
)


def test_all_operators_through_which_units_are_followed_can_be_trained() -> None:
    assert RULES.keys() - SUPPORTED.keys() == set()


def test_no_operator_is_in_two_families() -> None:
    assert sum(len(family.OPERATORS) for family in FAMILIES) == len(SUPPORTED)
