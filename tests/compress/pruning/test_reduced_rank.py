"""Cut to a rank, a matrix is what reduced-rank regression by hand gives, units gone or not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning import axes, narrow
from isslim.compress.pruning.axes import Arrays, InputMatrix, NetworkAxes, PreActivation, Segment
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.pruning.narrow import BOTTLENECK
from isslim.compress.pruning.ranking import RemovalPlan, cut, rank_components
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
