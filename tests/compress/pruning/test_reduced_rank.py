"""Cut to a rank, a matrix is what reduced-rank regression by hand gives, units gone or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning import axes, narrow
from isslim.compress.pruning.axes import (
    Arrays,
    InputMatrix,
    NarrowPlace,
    NetworkAxes,
    PreActivation,
    Segment,
)
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.pruning.narrow import BOTTLENECK
from isslim.compress.pruning.ranking import RemovalPlan, cut, rank_components
from isslim.compress.pruning.sensitivity import reader_sensitivity
from tests.compress.pruning.recurrent import moments_of

Matrix = NDArray[np.float64]
WORDS, UNITS, ROWS = 30, 12, 6000


def rows() -> Matrix:
    """Correlated activations (N, H), with means."""
    generator = np.random.default_rng(0)
    spread = np.linspace(2.0, 0.3, UNITS)
    hidden = generator.normal(size=(ROWS, UNITS)) * spread
    return hidden @ generator.normal(size=(UNITS, UNITS)) / 3 + generator.normal(size=UNITS)


def decoder() -> NetworkAxes:
    words, units = (Segment(None, WORDS),), (Segment("units", UNITS),)
    site = PreActivation("decoder", (InputMatrix("decoder.weight", ("units",)),), "decoder.bias")
    dimensions = {"decoder.weight": (words, units), "decoder.bias": (words,)}
    return NetworkAxes({"units": UNITS}, dimensions, (site,), {})


def drawn(declaration: NetworkAxes) -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng(1)
    return {
        name: (generator.normal(size=axes.shape(declaration, name)) / 2).astype(np.float32)
        for name in declaration.dimensions
    }


ARRAYS, VALUES = drawn(decoder()), rows()
FREQUENCIES = np.random.default_rng(2).integers(0, 90, WORDS).astype(np.float64)


def plan(frequencies: Matrix | None = None) -> RemovalPlan:
    observed = ActivationStatistics({"decoder": moments_of(VALUES)}, ROWS, frequencies)
    return rank_components(
        ARRAYS, decoder(), observed, prunable=["units"], min_kept=1, narrow=[BOTTLENECK]
    )


def kept(rank: int, units: NDArray[np.int64] | None = None) -> axes.Keep:
    return {
        "units": np.arange(UNITS) if units is None else units,
        "bottleneck": np.arange(rank),
    }


def said(arrays: Arrays, values: Matrix) -> Matrix:
    """The logits (N, V) by whatever the decoder is."""
    if BOTTLENECK.weight in arrays:
        values = values @ arrays[BOTTLENECK.weight].T + arrays[BOTTLENECK.bias]
    return values @ arrays["decoder.weight"].T + arrays["decoder.bias"]


def optimum(inputs: Matrix, outputs: Matrix, weights: Matrix, rank: int) -> float:
    """The least weighted squared error of any rank with an offset, by Izenman from the rows.

    Regress, then cut the fitted values to their first singular values.
    """
    centred, wanted = inputs - inputs.mean(0), (outputs - outputs.mean(0)) * weights
    full, *_ = np.linalg.lstsq(centred, wanted, rcond=None)
    fitted = centred @ full
    rest = np.linalg.svd(fitted, compute_uv=False)[rank:]
    return float((np.square(wanted - fitted).sum() + np.square(rest).sum()) / len(inputs))


def error(found: Matrix, wanted: Matrix, weights: Matrix) -> float:
    return float(np.square((found - wanted) * weights).sum() / len(wanted))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rank", [1, 3, 6])
def test_a_rank_alone_is_the_best_of_its_width(rank: int, weighted: bool) -> None:
    frequencies = FREQUENCIES if weighted else None
    weights = np.sqrt(FREQUENCIES + 1) if weighted else np.ones(WORDS)
    found = cut(plan(frequencies), kept(rank))
    assert found.declaration.axes["bottleneck"] == rank
    wanted = said(ARRAYS, VALUES)
    best = optimum(VALUES, wanted, weights, rank)
    # What is added to variances, for short texts, moves the basis a little.
    assert error(said(found.arrays, VALUES), wanted, weights) == pytest.approx(best, rel=2e-3)
    folded, _ = narrow.fold(found.arrays, found.declaration, BOTTLENECK)
    assert error(said(folded, VALUES), wanted, weights) == pytest.approx(best, rel=2e-3)


def test_what_each_component_loses_is_the_rest_of_the_spectrum() -> None:
    found = plan()
    lost = {
        component: cost
        for (axis, component), cost in zip(found.order, found.costs, strict=True)
        if axis == "bottleneck"
    }
    wanted = said(ARRAYS, VALUES)
    energy = float(np.square(wanted - wanted.mean(0)).sum() / ROWS)
    for rank in range(1, UNITS):
        rest = sum(cost for component, cost in lost.items() if component >= rank)
        best = optimum(VALUES, wanted, np.ones(WORDS), rank) / energy
        assert rest / narrow.DIRECT == pytest.approx(best, rel=0.05, abs=0.01)


def joint() -> NetworkAxes:
    """Gates that read units and a recurrence, as one pre-activation."""
    gates, fixed = (Segment(None, 9),), (Segment("others", 5),)
    units = (Segment("units", UNITS),)
    site = PreActivation(
        "layer",
        (InputMatrix("inward", ("units",)), InputMatrix("across", ("others",))),
        "bias",
    )
    dimensions = {"inward": (gates, units), "across": (gates, fixed), "bias": (gates,)}
    return NetworkAxes({"units": UNITS, "others": 5}, dimensions, (site,), {})


PLACE = NarrowPlace("rank:layer", "narrow", "narrow.weight", "narrow.bias", "layer", 0)


@pytest.mark.parametrize("rank", [2, 4])
def test_a_reader_is_regressed_on_what_reaches_it_of_all_its_inputs(rank: int) -> None:
    declaration = joint()
    arrays = drawn(declaration)
    generator = np.random.default_rng(5)
    others = VALUES @ generator.normal(size=(UNITS, 5)) / 4 + generator.normal(size=(ROWS, 5))
    both = np.concatenate([VALUES, others], axis=1)
    observed = ActivationStatistics({"layer": moments_of(both)}, ROWS)
    removal_plan = rank_components(
        arrays, declaration, observed, prunable=["units"], min_kept=1, narrow=[PLACE]
    )
    units, left = np.array([0, 2, 3, 5, 7, 8]), np.array([0, 1, 3])
    # Left in whether it pays or not.
    removal_plan = replace(removal_plan, cost=lambda found: -float(len(found.narrow)))
    found = cut(
        removal_plan, {"units": units, "others": left, "rank:layer": np.arange(rank)}
    ).arrays
    between = VALUES[:, units] @ found["narrow.weight"].T + found["narrow.bias"]
    said_ = between @ found["inward"].T + others[:, left] @ found["across"].T + found["bias"]
    wanted = VALUES @ arrays["inward"].T + others @ arrays["across"].T + arrays["bias"]
    reached = np.concatenate([between, others[:, left], np.ones((ROWS, 1))], axis=1)
    best = wanted - reached @ np.linalg.lstsq(reached, wanted, rcond=None)[0]
    assert float(np.square(said_ - wanted).mean()) == pytest.approx(
        float(np.square(best).mean()), rel=5e-3
    )
    np.testing.assert_allclose((said_ - wanted).mean(0), 0, atol=1e-4)
    # And the narrow layer passes on the best guess of its kept components.
    kept_rows = removal_plan.arrays["narrow.weight"][:rank].astype(np.float64)
    exact = VALUES @ kept_rows.T
    seen = np.concatenate([VALUES[:, units], np.ones((ROWS, 1))], axis=1)
    guess = seen @ np.linalg.lstsq(seen, exact, rcond=None)[0]
    assert float(np.square(between - exact).mean()) == pytest.approx(
        float(np.square(guess - exact).mean()), rel=5e-3
    )


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_a_narrow_layer_weighs_as_what_it_feeds_weighs_in_its_site(scale: float) -> None:
    declaration = narrow.declare_narrow(joint(), PLACE)
    arrays = drawn(declaration)
    arrays["inward"] = (scale * arrays["inward"]).astype(np.float32)
    both = np.concatenate([VALUES, VALUES[::-1, :5]], axis=1)
    moments = {"layer": moments_of(both), "narrow": moments_of(VALUES)}
    found = reader_sensitivity(
        arrays, declaration, ActivationStatistics(moments, ROWS), "rank:layer"
    )[1]
    inward, across = (arrays[name].astype(np.float64) for name in ("inward", "across"))
    own = np.square((VALUES - VALUES.mean(0)) @ inward.T).sum() / ROWS
    other = VALUES[::-1, :5]
    beside = np.square((other - other.mean(0)) @ across.T).sum() / ROWS
    expected = inward.T @ inward / own * (own / max(own, beside))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
