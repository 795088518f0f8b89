"""Quantizes float32 matrices so that integer products are exact on every processor.

Weights are signed, because only products of unsigned and signed bytes use the 8-bit instructions of
x86 processors (VNNI, AMX). Processors without those multiply two neighbouring inputs in one
instruction and add both products in 16 bits, where they saturate. Therefore the sum of two
neighbouring weights of a column must stay within `PAIR`: 255 x 128 still fits 16 bits. An outlier
has nearly all of the 8 bits where its neighbour is small; only where both are large do fewer
remain. That is why scales are made here and not by ONNX Runtime's quantizer, which would halve all
weights (7 bits) for the same safety.

Legend: K inputs of a product, N its outputs, V entries of a table, E width of an entry.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

INT8_MAX, PAIR = 127, 128
"""Bounds of one weight, and of the sum of two neighbours of one sign: 255 x 128 is below 2^15.
(-128 is not used: kernels for ARM flip the sign of activations instead.)"""
_SMALLEST = np.finfo(np.float32).tiny
"""A scale of zero would divide zero by zero where a whole column is zero."""


def eight_bits(matrix: Floats, *, per_column: bool) -> tuple[NDArray[np.int8], Floats]:
    """Integer matrices and scales whose products do not saturate on any processor.

    Args:
        matrix: float32 (..., K, N).
        per_column: True for a scale per column of each matrix, False for one per matrix.

    Returns:
        int8 (..., K, N) and float32 (..., 1, N) or (..., 1, 1); their product is the matrix except
        for rounding. In no column do rows 2 i and 2 i + 1 hold two numbers of one sign whose sum
        exceeds `PAIR`.
    """
    rows = matrix.shape[-2]
    exact = matrix.astype(np.float64)
    # A row of zeros gives the last of an odd number of rows a neighbour.
    even = np.pad(exact, [(0, 0)] * (matrix.ndim - 2) + [(0, rows % 2), (0, 0)])
    scale = _scale_of_pairs(even, -2 if per_column else (-2, -1))
    scaled = even / scale
    found = np.clip(np.rint(scaled), -INT8_MAX, INT8_MAX)
    _fit_pairs(found, scaled)
    return found[..., :rows, :].astype(np.int8), scale


def table_eight_bits(table: Floats, *, per_column: bool) -> tuple[NDArray[np.int8], Floats]:
    """An integer table of vectors and its scales; its entries are never added, so any pair fits.

    Args:
        table: float32 (V, E).
        per_column: True for a scale per column, False for one for all.

    Returns:
        int8 (V, E) and float32 (E,) or (); their product is the table except for rounding.
    """
    largest = np.abs(table).max(axis=0 if per_column else None)
    scale = np.maximum(largest / INT8_MAX, _SMALLEST).astype(np.float32)
    return np.rint(table / scale).astype(np.int8), scale


@lru_cache(maxsize=4)
def spreading_basis(size: int) -> NDArray[np.float64]:
    """A random orthogonal matrix, always the same for a size, so that files are reproducible."""
    noise = np.random.default_rng(0).standard_normal((size, size))
    basis: NDArray[np.float64] = np.linalg.qr(noise)[0]
    basis.setflags(write=False)
    return basis


def _scale_of_pairs(even: NDArray[np.float64], axes: int | tuple[int, int]) -> Floats:
    """The smallest scale that keeps each weight within `INT8_MAX` and each pair within `PAIR`."""
    positive, negative = np.maximum(even, 0), np.maximum(-even, 0)
    above = positive[..., ::2, :] + positive[..., 1::2, :]
    below = negative[..., ::2, :] + negative[..., 1::2, :]
    # Two weights of different signs cannot saturate: their products partly cancel.
    pair = np.maximum(above, below).max(axis=axes, keepdims=True, initial=0.0)
    single = np.abs(even).max(axis=axes, keepdims=True, initial=0.0)
    exact = np.maximum(pair / PAIR, single / INT8_MAX)
    scale: Floats = np.maximum(exact, _SMALLEST).astype(np.float32)
    return scale


def _fit_pairs(found: NDArray[np.float64], scaled: NDArray[np.float64]) -> None:
    """Corrects pairs that rounding pushed past `PAIR`, by one; in place, on `found` (..., K, N)."""
    one, other = found[..., ::2, :], found[..., 1::2, :]  # views: changes arrive in `found`
    over = (one * other > 0) & (np.abs(one + other) > PAIR)
    # Where both were rounded up past the bound, the one that grew more gives one back.
    grown = np.abs(found) - np.abs(scaled)
    first = grown[..., ::2, :] >= grown[..., 1::2, :]
    one -= np.sign(one) * (over & first)
    other -= np.sign(other) * (over & ~first)
