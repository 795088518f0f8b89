"""The choice of a ridge against a slow search on the rows, and its worth on other rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning.moments import Sums
from isslim.compress.pruning.shrinkage import CAUTION, Half, chosen_ridge, scales

Matrix = NDArray[np.float64]
GROUPS = np.repeat([0, 1], [14, 6])


def drawn(rows: int, seed: int) -> tuple[Matrix, Matrix]:
    """Inputs (N, 20), the second activation a hundredth as large, and three outputs of them."""
    generator, model = np.random.default_rng(seed), np.random.default_rng(0)
    inputs = np.tanh(generator.normal(size=(rows, 8)) @ model.normal(size=(8, 20)) / 2 + 0.2)
    inputs[:, 14:] *= 0.01
    told = inputs / inputs.std(0).clip(1e-9) @ model.normal(size=(20, 3)) / 4 + 0.5
    return inputs, told + generator.normal(size=(rows, 3))


def half(inputs: Matrix, outputs: Matrix) -> Half:
    sums = Sums.of(np.concatenate([inputs, outputs], axis=1).astype(np.float32))
    covariance, width = sums.covariance, inputs.shape[1]
    inner, outer = slice(0, width), slice(width, None)
    spread = float(np.trace(covariance[outer, outer]))
    return Half(
        sums.count,
        covariance[inner, inner],
        covariance[outer, inner],
        sums.mean[inner],
        sums.mean[outer],
        spread,
    )


def slow_error(fit: tuple[Matrix, Matrix], test: tuple[Matrix, Matrix], ridge: float) -> float:
    """Sum of squared errors on `test`, by least squares with rows that pull each weight to zero."""
    (inputs, outputs), (others, wanted) = fit, test
    variances = inputs.var(0)
    pull = [
        np.sqrt(ridge * len(inputs) * (variances[k] + variances[GROUPS[k] == GROUPS].mean()) / 2)
        for k in range(len(GROUPS))
    ]
    design = np.concatenate([inputs - inputs.mean(0), np.diag(pull)])
    target = np.concatenate([outputs - outputs.mean(0), np.zeros((len(GROUPS), outputs.shape[1]))])
    mixing = np.linalg.lstsq(design, target, rcond=None)[0]
    found = (others - inputs.mean(0)) @ mixing + outputs.mean(0)
    return float(np.square(found - wanted).sum())


@pytest.mark.parametrize("rows", [24, 80, 2000])
def test_the_ridge_is_the_one_with_which_each_half_tells_the_other_best(rows: int) -> None:
    one, other = drawn(rows // 2, seed=1), drawn(rows // 2, seed=2)
    powers = np.linspace(-4, 2, 61)

    def error(ridge: float) -> float:
        """Of the half that fares worse, relative to that of no correction."""
        return max(
            slow_error(fit, test, ridge) / slow_error(fit, test, 1e12)
            for fit, test in ((one, other), (other, one))
        )

    errors = [error(10**power) for power in powers]
    ridge = 2 * chosen_ridge((half(*one), half(*other)), GROUPS)  # it is halved for a fit to both
    assert error(ridge) <= 1.03 * min(errors) * (1 + CAUTION / (rows // 2))
    assert (
        np.log10(ridge) >= powers[int(np.argmin(errors))] - 0.25
    )  # rather too large a ridge than too small
    assert min(errors) < 0.95 * max(errors)  # the choice matters


def test_fewer_rows_are_believed_less() -> None:
    ridges = [
        chosen_ridge((half(*drawn(rows, seed=1)), half(*drawn(rows, seed=2))), GROUPS)
        for rows in (12, 100, 3000)
    ]
    assert ridges[0] > 3 * ridges[1] > 9 * ridges[2]


def test_outputs_that_the_inputs_do_not_tell_are_not_corrected() -> None:
    generator = np.random.default_rng(0)
    one, other = ((drawn(30, seed)[0], generator.normal(size=(30, 3))) for seed in (1, 2))
    assert chosen_ridge((half(*one), half(*other)), GROUPS) >= 10


def test_an_input_that_hardly_moved_is_given_no_huge_weight() -> None:
    inputs, _ = drawn(40, seed=1)
    inputs[:, 3] = 0.7 + 1e-6 * np.random.default_rng(1).normal(size=40)
    found = scales(inputs.var(0), GROUPS)
    assert found[3] > 0.3 * found[:14].mean()
    assert (
        found[14:].max() < 0.01 * found[:14].mean()
    )  # other activations have a scale of their own
