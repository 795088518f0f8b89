"""Each step of the choice of a ridge: its scale, its errors on rows, and the way of the search."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning import shrinkage
from isslim.compress.pruning.shrinkage import Half, chosen_ridge, ridged, scales, sketch

Matrix = NDArray[np.float64]
ALONE = np.zeros(1, np.int64)


def half(inputs: Matrix, outputs: Matrix, *, centred: bool = True) -> Half:
    """What rows (N, K) and (N, S) say."""
    middle = inputs.mean(0) if centred else np.zeros(inputs.shape[1])
    level = outputs.mean(0) if centred else np.zeros(outputs.shape[1])
    v, z = inputs - middle, outputs - level
    n = len(inputs)
    return Half(n, v.T @ v / n, z.T @ v / n, middle, level, float(np.square(z).sum() / n))


def test_scale_is_half_an_inputs_own_variance_and_half_the_mean_of_its_activation() -> None:
    groups = np.array([0, 0, 2, 2, 2])  # of an activation that offers nothing there is no input
    found = scales(np.array([1.0, 3.0, 0.0, 6.0, 3.0]), groups)
    np.testing.assert_allclose(found, [1.5, 2.5, 1.5, 4.5, 3.0], rtol=1e-11)


def test_an_input_alone_in_its_activation_has_its_own_variance_as_its_scale() -> None:
    found = scales(np.array([1.0, 3.0, 7.0]), np.array([0, 0, 1]))
    np.testing.assert_allclose(found, [1.5, 2.5, 7.0], rtol=1e-11)


@pytest.mark.parametrize(("largest", "least"), [(4.0, 4e-12), (1e-3, 1e-15), (0.0, 1e-24)])
def test_scale_is_never_zero(largest: float, least: float) -> None:
    found = scales(np.array([largest, largest, 0.0]), np.array([0, 0, 1]))
    assert found[2] == pytest.approx(least, rel=1e-9, abs=0)
    assert len(scales(np.zeros(0), np.zeros(0, np.int64))) == 0


def test_ridge_is_added_to_the_diagonal_in_that_scale() -> None:
    gram = np.array([[2.0, 0.5, 0.1], [0.5, 4.0, 0.2], [0.1, 0.2, -1.0]])
    before, groups = gram.copy(), np.array([0, 0, 1])
    found = ridged(gram, 0.1, groups)
    # A variance that rounding made negative counts as none.
    expected = gram + np.diag(0.1 * scales(np.array([2.0, 4.0, 0.0]), groups))
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    np.testing.assert_array_equal(gram, before)


def test_mixtures_are_those_of_rows_that_were_mixed() -> None:
    generator = np.random.default_rng(0)
    v, y, weights = (generator.normal(size=each) for each in ((50, 3), (50, 4), (2, 4)))
    n = len(v)
    centred = y - y.mean(0)
    found = Half.mixed(
        n,
        weights,
        centred.T @ (v - v.mean(0)) / n,
        np.cov(v.T, bias=True),
        centred.T @ centred / n,
        y.mean(0),
        v.mean(0),
    )
    expected = half(v, y @ weights.T)
    assert found.count == n
    for name in ("gram", "cross", "inputs", "outputs", "spread"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9)


def test_a_sketch_keeps_squares_in_expectation() -> None:
    assert sketch(300).shape == (shrinkage.SKETCHED, 300)
    np.testing.assert_array_equal(sketch(300), sketch(300, seed=0))
    assert not np.array_equal(sketch(300), sketch(300, seed=1))
    outputs = np.random.default_rng(1000).normal(size=300)
    kept = [np.square(sketch(300, seed) @ outputs).sum() for seed in range(200)]
    assert np.mean(kept) == pytest.approx(np.square(outputs).sum(), rel=0.05)
    assert np.std(kept) == pytest.approx(0.2 * np.square(outputs).sum(), rel=0.25)


def test_nothing_to_tell_from_has_no_ridge() -> None:
    empty = Half(5, np.zeros((0, 0)), np.zeros((2, 0)), np.zeros(0), np.ones(2), 3.0)
    assert chosen_ridge((empty, empty), np.zeros(0, np.int64)) == math.inf


def slow_error(
    fit: tuple[Matrix, Matrix], test: tuple[Matrix, Matrix], ridge: float, groups: NDArray[np.int64]
) -> float:
    """On the rows of `test`, relative to no correction.

    By least squares with further rows, which pull each weight to zero.
    """
    (inputs, outputs), (others, wanted) = fit, test
    pull = np.diag(np.sqrt(ridge * len(inputs) * scales(inputs.var(0), groups)))
    design = np.concatenate([inputs - inputs.mean(0), pull])
    target = np.concatenate([outputs - outputs.mean(0), np.zeros((len(pull), outputs.shape[1]))])
    mixing = np.linalg.lstsq(design, target, rcond=None)[0]
    found = (others - inputs.mean(0)) @ mixing + outputs.mean(0)
    nothing = np.square(wanted - outputs.mean(0)).sum()
    return float(np.square(found - wanted).sum() / nothing)


def slow_choice(error: Callable[[float], float], count: int) -> float:
    """The search in the words of its module, on any error of a power of ten."""
    best = min(range(-4, 3), key=lambda power: (error(power), abs(power + 2)))
    if error(best) >= 1:
        return math.inf
    low, middle, high = (error(best + step) for step in (-1, 0, 1))
    place: float = best
    if -4 < best < 2:
        place += 0.5 * (low - high) / (low - 2 * middle + high)
    # As little, as far as so many rows can tell, but no more than half of what is won.
    enough = min(middle * (1 + (2 / count) ** 1.5), (middle + 1) / 2)
    while place + 0.5 <= 2 and error(place + 0.5) <= enough:
        place += 0.5
    return 10**place / 2


def drawn(rows: int, seed: int, noise: float, scale: float = 1.0) -> tuple[Matrix, Matrix]:
    """Inputs (N, 9) of two activations and three outputs that they tell in part."""
    generator, model = np.random.default_rng(seed), np.random.default_rng(0)
    inputs = generator.normal(size=(rows, 9)) @ model.normal(size=(9, 9)) + 0.5
    inputs[:, 5:] *= scale
    outputs = inputs @ model.normal(size=(9, 3)) / 4 + 0.2
    return inputs, outputs + noise * generator.normal(size=(rows, 3))


GROUPS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0, 3.0, 10.0, 100.0])
@pytest.mark.parametrize("rows", [(10, 10), (12, 30), (30, 12), (40, 44), (400, 380)], ids=str)
def test_search_ends_where_its_words_say(rows: tuple[int, int], noise: float) -> None:
    one, other = drawn(rows[0], 1, noise, 0.1), drawn(rows[1], 2, noise, 0.1)

    def error(power: float) -> float:
        return max(
            slow_error(fit, test, 10**power, GROUPS) for fit, test in ((one, other), (other, one))
        )

    found = chosen_ridge((half(*one), half(*other)), GROUPS)
    assert found == pytest.approx(slow_choice(error, min(rows)), rel=0.02)  # single precision


def one_input(cross: float, spread: float = 1.0, *, shift: float = 0.0, level: float = 0.0) -> Half:
    """Of one input of variance 1 and one output."""
    return Half(
        100, np.ones((1, 1)), np.full((1, 1), cross), np.full(1, shift), np.full(1, level), spread
    )


def test_halves_that_disagree_are_not_believed() -> None:
    assert chosen_ridge((one_input(0.5), one_input(-0.5)), ALONE) == math.inf
    assert chosen_ridge((one_input(0.0), one_input(0.0)), ALONE) == math.inf
    assert chosen_ridge((one_input(0.9), one_input(0.9)), ALONE) < 0.1


def test_the_half_that_fares_worse_counts() -> None:
    # Fitted to the first, the second is made worse; the other way round it is made better.
    weak, strong = one_input(0.1), one_input(0.9)
    ridge = chosen_ridge((strong, weak), ALONE)
    assert ridge == chosen_ridge((weak, strong), ALONE)
    # With x = 0.9 / (1 + r) the error on the weak half is 1 - 0.2 x + x^2: least at x = 0.1, r = 8.
    assert ridge > 4


def test_means_that_differ_between_the_halves_count_as_errors() -> None:
    same = chosen_ridge((one_input(0.5), one_input(0.5)), ALONE)
    told = chosen_ridge((one_input(0.5), one_input(0.5, shift=2.0, level=1.0)), ALONE)
    assert told < math.inf  # a shift that the weight explains
    assert same < 0.1
    against = chosen_ridge((one_input(0.5), one_input(0.5, shift=2.0, level=-1.0)), ALONE)
    assert against > 1e3 * same


def test_where_all_ridges_err_alike_it_is_the_largest() -> None:
    still = one_input(0.0, 0.0)  # no division by zero either
    assert chosen_ridge((still, still), ALONE) == 10.0**2 / 2


def test_units_of_the_outputs_do_not_matter() -> None:
    one, other = drawn(40, 1, 3.0), drawn(44, 2, 3.0)
    ridges = [
        chosen_ridge((half(one[0], scale * one[1]), half(other[0], scale * other[1])), GROUPS)
        for scale in (1.0, 2.0**-20)
    ]
    assert ridges[0] == pytest.approx(ridges[1], rel=1e-6)
