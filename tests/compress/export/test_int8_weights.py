"""Rounding to signed bytes: products that never saturate, half a step, one scale or many."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.export.int8_weights import (
    INT8_MAX,
    PAIR,
    eight_bits,
    spreading_basis,
    table_eight_bits,
)


def saturating(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(K,) unsigned by (K, N) signed without VNNI: neighbours added in 16 bits (vpmaddubsw)."""
    total = np.zeros(weights.shape[1], np.int64)
    for row in range(0, len(weights), 2):
        pair = sum(
            int(a) * w.astype(np.int64)
            for a, w in zip(activations[row:], weights[row : row + 2], strict=False)
        )
        total += np.clip(pair, -32768, 32767)
    return total


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 7, 64])
def test_pairs_of_weights_fit_and_every_weight_is_within_half_a_step(
    rows: int, per_column: bool
) -> None:
    generator = np.random.default_rng(rows)
    matrix = generator.standard_t(2, (2, rows, 9)).astype(np.float32)
    matrix[0, :, 3] = 0.0
    weights, scale = eight_bits(matrix, per_column=per_column)
    assert scale.shape == ((2, 1, 9) if per_column else (2, 1, 1))
    np.testing.assert_allclose(weights * scale, matrix, rtol=0, atol=0.5001 * scale.max())
    for matrix_of_one in weights.astype(int):
        for column in matrix_of_one.T:
            for row in range(0, rows, 2):
                pair = column[row : row + 2]
                assert sum(pair[pair > 0]) <= 128
                assert sum(pair[pair < 0]) >= -128


def test_a_weight_that_stands_out_has_nearly_eight_bits() -> None:
    matrix = np.random.default_rng(0).normal(0, 0.01, (64, 5)).astype(np.float32)
    matrix[10] = 1.0
    weights, _ = eight_bits(matrix, per_column=True)
    assert (weights[10] >= 120).all()  # of 7 bits it would have 64


def slow_scale(matrix: np.ndarray) -> float:
    """The smallest scale of a (K, N) matrix, number by number."""
    bounds = [0.0]
    for column in matrix.T.astype(float):
        bounds += [abs(value) / INT8_MAX for value in column]
        for row in range(0, len(column), 2):
            pair = column[row : row + 2]
            bounds.append(sum(value for value in pair if value > 0) / PAIR)
            bounds.append(-sum(value for value in pair if value < 0) / PAIR)
    return max(bounds)


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("rows", [1, 4, 9])
def test_scales_are_the_smallest_that_keep_weights_and_pairs_in_bounds(
    rows: int, per_column: bool
) -> None:
    matrix = np.random.default_rng(rows).standard_t(2, (rows, 6)).astype(np.float32)
    _, scale = eight_bits(matrix, per_column=per_column)
    columns = [matrix[:, [n]] for n in range(6)] if per_column else [matrix]
    expected = np.array([[slow_scale(each) for each in columns]])
    np.testing.assert_allclose(scale, expected, rtol=1e-6, atol=0)


def test_of_two_that_rounding_pushes_past_the_bound_the_one_that_grew_more_gives_one_back() -> None:
    # 63.5 and 64.5 steps are 128 together. Where float32 rounds the scale down, both are a little
    # more and both are rounded up: 64 + 65.
    factors = np.random.default_rng(0).uniform(0.5, 2, 4000)
    shares = np.random.default_rng(1).choice([[63.5, 64.5], [64.5, 63.5]], 4000).T
    matrix = (shares * factors).astype(np.float32)  # (2, N)
    weights, scale = eight_bits(matrix, per_column=True)
    scaled = matrix.astype(float) / scale
    naive = np.rint(scaled).astype(int)
    over = naive.sum(axis=0) > PAIR
    assert over.sum() > 50
    assert weights.astype(int).sum(axis=0).max() == PAIR
    np.testing.assert_array_equal(weights[:, ~over], naive[:, ~over])
    for column in np.flatnonzero(over):
        (one, other), exact = naive[:, column], scaled[:, column]
        ways = [np.array([one - 1, other]), np.array([one, other - 1])]
        best = min(np.square(way - exact).sum() for way in ways)
        found = np.square(weights[:, column] - exact).sum()
        np.testing.assert_allclose(found, best, rtol=1e-12, atol=0)


@pytest.mark.parametrize("per_column", [False, True])
def test_a_table_is_within_half_a_step_and_uses_all_of_eight_bits(per_column: bool) -> None:
    table = np.random.default_rng(0).normal(0, 1, (40, 5)).astype(np.float32)
    table[:, 2] = 0.0  # a column of zeros must not divide by zero
    weights, scale = table_eight_bits(table, per_column=per_column)
    assert weights.dtype == np.int8
    assert scale.shape == ((5,) if per_column else ())
    steps = np.broadcast_to(scale, (5,))
    assert (np.abs(weights * steps - table) <= 0.5001 * steps).all()
    largest = np.abs(weights).max(axis=0 if per_column else None)
    assert largest.tolist() == ([127, 127, 0, 127, 127] if per_column else 127)


@pytest.mark.parametrize("size", [1, 2, 17])
def test_the_basis_is_orthogonal_and_always_the_same(size: int) -> None:
    basis = spreading_basis(size)
    np.testing.assert_allclose(basis.T @ basis, np.eye(size), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(basis, spreading_basis(size))
    assert size < 3 or np.abs(basis).max() < 0.9  # it does spread
