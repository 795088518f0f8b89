"""One narrow layer that several matrices read: as each by itself, and exact when it is cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning import axes, narrow
from isslim.compress.pruning.axes import (
    InputMatrix,
    NarrowPlace,
    NetworkAxes,
    PreActivation,
    Segment,
)
from isslim.compress.pruning.moments import ActivationStatistics, Moments
from isslim.compress.pruning.narrow import declare_narrow
from isslim.compress.pruning.ranking import prune, rank_components
from isslim.compress.pruning.sensitivity import reader_sensitivity
from tests.compress.pruning import made

READ, AHEAD, BACK, KNOWN = 12, 9, 7, 2
SHARED = NarrowPlace("rank:both", "both", "both.weight", "both.bias", "ahead", 0, (("back", 0),))


def network() -> NetworkAxes:
    """Two sites that read the same inputs, and each one of its own besides."""
    inputs = (Segment("x", READ - 3), Segment(None, 3))
    dimensions, sites = {}, []
    for name, rows in (("ahead", AHEAD), ("back", BACK)):
        out = (Segment(None, rows),)
        dimensions |= {
            f"{name}.weight": (out, inputs),
            f"{name}.own": (out, (Segment(None, KNOWN),)),
            f"{name}.bias": (out,),
        }
        reading = InputMatrix(f"{name}.weight", ("x", "fixed"))
        own = InputMatrix(f"{name}.own", (f"{name}:before",))
        sites.append(PreActivation(name, (reading, own), f"{name}.bias"))
    return NetworkAxes({"x": READ - 3}, dimensions, tuple(sites), {})


def seen(rows: int = 400) -> dict[str, NDArray[np.float64]]:
    """Inputs of both sites, nearly in a space of five dimensions."""
    random = np.random.default_rng(1)
    common = random.normal(size=(rows, 5)) @ random.normal(size=(5, READ))
    common += 0.05 * random.normal(size=common.shape) + random.normal(size=READ)
    return {
        name: np.concatenate([common, random.normal(size=(rows, KNOWN))], axis=1)
        for name in ("ahead", "back")
    }


def observed() -> ActivationStatistics:
    return ActivationStatistics({name: Moments.of(rows) for name, rows in seen().items()}, 400)


def outputs(
    arrays: axes.Arrays, declaration: NetworkAxes, inputs: dict[str, NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """Both pre-activations by hand."""
    found = []
    for name, rows in inputs.items():
        read, own = rows[:, :READ], rows[:, READ:]
        if SHARED in declaration.narrow:
            read = read @ arrays[SHARED.weight].T + arrays[SHARED.bias]
        found.append(
            read @ arrays[f"{name}.weight"].T
            + own @ arrays[f"{name}.own"].T
            + arrays[f"{name}.bias"]
        )
    return found


def test_it_stands_before_the_first_reader_and_goes_without_a_trace() -> None:
    plain = network()
    given = declare_narrow(plain, SHARED, 4)
    assert [site.name for site in given.sites] == ["both", "ahead", "back"]
    assert {name: axes.shape(given, name) for name in given.dimensions} == {
        **{name: axes.shape(plain, name) for name in plain.dimensions},
        "ahead.weight": (AHEAD, 4),
        "back.weight": (BACK, 4),
        "both.weight": (4, READ),
        "both.bias": (4,),
    }
    assert given.sites[0].readers[0].activations == ("x", "fixed")
    for site in given.sites[1:]:
        assert site.readers[0].activations == ("rank:both",)
        assert site.readers[1].activations == (f"{site.name}:before",)
    assert given.narrow == (SHARED,)
    assert narrow.without_narrow(given, SHARED) == plain


def test_put_in_and_multiplied_back_both_readers_give_the_same() -> None:
    plain = network()
    arrays = made.filled(plain)
    expected = outputs(arrays, plain, seen())
    inserted, given = narrow.insert(arrays, plain, SHARED)
    given.check(inserted)
    for one, other in zip(outputs(inserted, given, seen()), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
    small = declare_narrow(plain, SHARED, 4)
    random = made.filled(small, seed=2)
    folded, back = narrow.fold(random, small, SHARED)
    assert back == plain
    back.check(folded)
    found, expected = outputs(folded, plain, seen()), outputs(random, small, seen())
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


def test_it_pays_by_its_work_once_for_all_readers() -> None:
    for width in range(1, READ + 1):
        less = width * (READ + AHEAD + BACK) < READ * (AHEAD + BACK)
        assert narrow.pays(declare_narrow(network(), SHARED, width), SHARED) is less


def test_what_it_reads_is_felt_by_both_as_without_it() -> None:
    plain = network()
    arrays = made.filled(plain)
    expected = reader_sensitivity(arrays, plain, observed(), "x")
    inserted, given = narrow.insert(arrays, plain, SHARED)
    moments = {**observed().moments}
    moments["both"] = narrow.moments_before(moments["ahead"], plain, SHARED)
    found = reader_sensitivity(inserted, given, ActivationStatistics(moments, 400), "x")
    # Each reader alone has unit energy, together two; the sum of both by their common energy.
    covariance = moments["both"].covariance[: READ - 3, : READ - 3]
    assert float((found[1] * covariance).sum()) == pytest.approx(2.0)
    assert float((expected[1] * covariance).sum()) == pytest.approx(2.0)
    stacked = np.concatenate([arrays[f"{name}.weight"] for name in ("ahead", "back")])
    both = declare_narrow(plain, SHARED)
    felt = narrow.sensitivity(np.eye(READ), both.sites[0], {**inserted}, both, None)
    np.testing.assert_allclose(felt, stacked, rtol=1e-12)


@pytest.mark.parametrize("share", [0.6, 0.8, 0.95])
def test_a_cut_of_it_equals_its_reference_and_loses_little_of_inputs_of_low_rank(
    share: float,
) -> None:
    plain = network()
    arrays = made.filled(plain)
    plan = rank_components(
        arrays, plain, observed(), prunable=[SHARED.axis], count="mult_adds", narrow=[SHARED],
        min_kept=1,
    )  # fmt: skip
    pruned = prune(plan, share)
    assert SHARED in pruned.declaration.narrow
    assert axes.mult_adds(pruned.declaration) < axes.mult_adds(plain)
    whole = declare_narrow(plain, SHARED)
    found = outputs(pruned.arrays, pruned.declaration, seen())
    for one, other in zip(found, outputs(pruned.reference, whole, seen()), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    if pruned.declaration.axes[SHARED.axis] >= 5:
        for one, other in zip(found, outputs(arrays, plain, seen()), strict=True):
            assert np.square(one - other).mean() < 0.01 * other.var()


def test_one_for_both_is_the_best_of_its_width_for_the_sum_of_their_errors() -> None:
    """As narrow as that, no other choice of directions has a smaller error than the principal."""
    plain = network()
    arrays = made.filled(plain)
    plan = rank_components(
        arrays, plain, observed(), prunable=[SHARED.axis], count="mult_adds", narrow=[SHARED],
        min_kept=3,
    )  # fmt: skip
    pruned = prune(plan, 1.0)
    assert pruned.declaration.axes[SHARED.axis] == 3
    before, inputs = outputs(arrays, plain, seen()), seen()["ahead"][:, :READ]

    def error(found: list[NDArray[np.float64]]) -> float:
        pairs = zip(found, before, strict=True)
        return sum(np.square(one - other).sum(axis=1).mean() / 2 for one, other in pairs)

    centred = inputs - inputs.mean(axis=0)
    random = np.random.default_rng(5)
    for _ in range(20):
        kept = centred @ random.normal(size=(READ, 3))
        guess, *_ = np.linalg.lstsq(kept, centred, rcond=None)
        read = inputs.mean(axis=0) + kept @ guess
        rows = {
            name: np.concatenate([read, each[:, READ:]], axis=1) for name, each in seen().items()
        }
        assert error(outputs(pruned.arrays, pruned.declaration, seen())) < error(
            outputs(arrays, plain, rows)
        )


@pytest.mark.parametrize(
    ("place", "why"),
    [
        (replace(SHARED, others=(("back", 1),)), "'back.own' does not read what 'ahead.weight'"),
        (replace(SHARED, others=(("up", 0),)), "there is no site 'up' with a matrix 0"),
    ],
)
def test_readers_of_different_inputs_are_refused(place: NarrowPlace, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        declare_narrow(network(), place)
