"""Curves of losses: through what was measured, never falling, in the shape of the closed form."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.search.allocation.curves import LEAST, loss_curve

COSTS = np.cumsum([0.0, 1, 1, 2, 4, 8, 16, 32])


@pytest.mark.parametrize(
    "measured",
    [{3: 0.5}, {2: 0.1, 5: 0.3}, {1: 0.2, 4: 0.2, 7: 9.0}, {2: 0.5, 6: 0.51}, {7: 1.0}],
)
def test_curve_goes_through_what_was_measured_and_never_falls(measured: dict[int, float]) -> None:
    curve = loss_curve(COSTS, measured)
    assert curve[0] == 0
    assert (np.diff(curve) >= 0).all()
    for steps, loss in measured.items():
        assert curve[steps] == pytest.approx(loss, rel=1e-12)


def test_one_measurement_scales_the_closed_form() -> None:
    np.testing.assert_allclose(loss_curve(COSTS, {4: 0.4}), 0.05 * COSTS, rtol=1e-6)


def test_between_measurements_the_scale_changes_evenly_in_its_logarithm() -> None:
    curve = loss_curve(COSTS, {3: 4.0 * 0.01, 5: 16.0 * 0.04})
    np.testing.assert_allclose(curve[:4], 0.01 * COSTS[:4], rtol=1e-6)
    assert curve[4] == pytest.approx(8 * 0.02, rel=1e-6)
    np.testing.assert_allclose(curve[5:], 0.04 * COSTS[5:], rtol=1e-6)


def test_noise_makes_no_curve_that_falls() -> None:
    curve = loss_curve(COSTS, {1: 0.02, 3: -0.01, 5: 0.01, 6: 0.5})
    assert (np.diff(curve) >= 0).all()
    assert curve[[1, 3, 5, 6]].tolist() == [0.02, 0.02, 0.02, 0.5]
    assert loss_curve(COSTS, {3: -1.0})[3] == LEAST


def test_components_that_the_closed_form_finds_free_are_not() -> None:
    flat = loss_curve(np.zeros(5), {4: 0.8})
    np.testing.assert_allclose(flat, [0, 0.2, 0.4, 0.6, 0.8], rtol=1e-9)


@pytest.mark.parametrize("measured", [{}, {0: 0.1}, {8: 0.1}])
def test_steps_that_there_are_not_are_refused(measured: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="expected losses at 1 to 7 steps"):
        loss_curve(COSTS, measured)


def test_a_criterion_that_falls_is_a_straight_line() -> None:
    """Rounding errors of an inverse: of a single step, 1e23 below zero were found."""
    costs = np.array([0.0, -1e23, -3e23, -2e23, -4e23])
    np.testing.assert_allclose(loss_curve(costs, {4: 0.4}), [0, 0.1, 0.2, 0.3, 0.4], rtol=1e-9)
