"""One order of removal over all axes, against that of each axis and a count of what each saves."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Arrays, NetworkAxes
from isslim.compress.pruning.moments import ActivationStatistics, Moments, Sums
from isslim.compress.pruning.narrow import BOTTLENECK, declare_narrow
from isslim.compress.pruning.ranking import (
    Probe,
    RemovalPlan,
    bisect_share,
    kept_indices,
    prune,
    rank_components,
)
from isslim.compress.pruning.repair import repair
from isslim.compress.pruning.rotation import principal_axes, rotate, rotated_moments
from isslim.compress.pruning.selection import removal_order
from isslim.compress.pruning.sensitivity import reader_sensitivity
from isslim.compress.pruning.shrinkage import SKETCHED, Half, chosen_ridge, sketch
from tests.compress.pruning import made

Matrix = NDArray[np.float64]
PLAIN = made.language()
COUNTS: list[Literal["parameters", "mult_adds", "both", "components"]] = [
    "parameters",
    "mult_adds",
    "both",
    "components",
]


def moments_of(rows: Matrix, first: int | None = None) -> Moments:
    """In double precision, unlike `Moments.of`."""
    cut = len(rows) // 2 if first is None else first
    whole, half = (Sums(len(each), each.sum(0), each.T @ each) for each in (rows, rows[:cut]))
    return Moments(whole, half)


def rows_of(declaration: NetworkAxes, count: int = 300) -> dict[str, Matrix]:
    """Correlated rows of each site's inputs (N, D)."""
    generator = np.random.default_rng(5)
    found = {}
    for site in declaration.sites:
        width = sum(part.size for part in declaration.parts(site))
        hidden = generator.normal(size=(count, width)) * np.linspace(1.5, 0.2, width)
        found[site.name] = hidden @ generator.normal(size=(width, width)) + 0.3
    return found


def observed_of(
    declaration: NetworkAxes, count: int = 300, *, frequencies: bool = False
) -> ActivationStatistics:
    moments = {name: moments_of(rows) for name, rows in rows_of(declaration, count).items()}
    words = np.random.default_rng(0).integers(0, 50, made.WORDS).astype(np.float64)
    return ActivationStatistics(moments, count, words if frequencies else None)


def slow_sensitivity(
    arrays: Arrays, declaration: NetworkAxes, rows: dict[str, Matrix], axis: str
) -> tuple[Matrix, Matrix]:
    """Covariance, shrunk, and energy, from rows."""
    size = declaration.axes[axis]
    covariance, energy, mixtures = np.zeros((size, size)), np.zeros((size, size)), 0.0
    halves, seen, count = [np.zeros((size, size)) for _ in range(2)], list[str](), 0
    for site in declaration.sites:
        for part in declaration.parts(site):
            if part.axis != axis:
                continue
            own = rows[site.name][:, part.start : part.start + size]
            name = site.readers[part.reader].parameter
            matrix = arrays[name].astype(np.float64)[:, part.offset : part.offset + size]
            centred = own - own.mean(0)
            unit = float(np.square(centred @ matrix.T).sum() / len(own))
            energy += matrix.T @ matrix / unit
            mixtures = mixtures + sketch(len(matrix), seed=count) @ matrix / np.sqrt(unit)
            count += 1
            if part.activation not in seen:
                seen.append(part.activation)
                covariance += np.cov(own.T, bias=True)
                for half, each in zip(halves, np.array_split(own, 2), strict=True):
                    half += np.cov(each.T, bias=True)
    order = np.random.default_rng(0).permutation(size)
    gone, stay = order[: size // 2], order[size // 2 :]

    def half_of(sums: Matrix) -> Half:
        cross, gram = sums[np.ix_(gone, stay)], sums[np.ix_(stay, stay)]
        told = mixtures[:, gone]  # type: ignore[index]
        spread = float(np.trace(told @ sums[np.ix_(gone, gone)] @ told.T))
        zeros = np.zeros(len(stay)), np.zeros(SKETCHED)
        return Half(100, gram, told @ cross, *zeros, spread)

    number = len(next(iter(rows.values()))) // 2
    one, other = (half_of(each) for each in halves)
    one, other = (Half(number, *list(vars(each).values())[1:]) for each in (one, other))
    ridge = chosen_ridge((one, other), np.zeros(len(stay), np.int64))
    shrunk = covariance / (1 + 0.4 * ridge)
    np.fill_diagonal(shrunk, np.diag(covariance) + 1e-3 * np.trace(covariance) / size)
    return shrunk, energy


@pytest.mark.parametrize("count", [4, 8, 30, 300])
@pytest.mark.parametrize("axis", ["embedding", "units"])
def test_what_readers_feel_of_an_axis_is_what_the_rows_say(axis: str, count: int) -> None:
    arrays, rows = made.filled(PLAIN), rows_of(PLAIN, count)
    expected = slow_sensitivity(arrays, PLAIN, rows, axis)
    found = reader_sensitivity(arrays, PLAIN, observed_of(PLAIN, count), axis)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-12)


def test_an_activation_that_several_sites_read_has_one_covariance() -> None:
    declaration = PLAIN
    arrays, rows = made.filled(declaration), rows_of(declaration)
    layer, decoder = declaration.sites
    readers = (axes.InputMatrix("layer.input", ("embedding",)),)
    again = axes.PreActivation("again", (*readers, *readers), None)
    twice = NetworkAxes(
        declaration.axes, declaration.dimensions, (layer, again, decoder), declaration.produced
    )
    embedding = rows["layer"][:, : made.EMBEDDING]
    rows["again"] = np.concatenate([embedding, embedding], axis=1)
    observed = ActivationStatistics({name: moments_of(each) for name, each in rows.items()}, 300)
    covariance, energy = reader_sensitivity(arrays, twice, observed, "embedding")
    once, single = reader_sensitivity(arrays, declaration, observed_of(declaration), "embedding")
    np.testing.assert_allclose(np.diag(covariance), np.diag(once), rtol=1e-9)
    np.testing.assert_allclose(energy, 3 * single, rtol=1e-9)


def test_a_half_of_one_row_and_a_lonely_component_say_nothing_of_others() -> None:
    arrays, rows = made.filled(PLAIN), rows_of(PLAIN, 3)
    observed = ActivationStatistics({name: moments_of(each) for name, each in rows.items()}, 3)
    covariance, _ = reader_sensitivity(arrays, PLAIN, observed, "units")
    assert np.count_nonzero(covariance - np.diag(np.diag(covariance))) == 0
    small, declaration = axes.select_components(arrays, PLAIN, {"units": np.array([2])})
    rows = rows_of(declaration)
    observed = ActivationStatistics({name: moments_of(each) for name, each in rows.items()}, 300)
    covariance, energy = reader_sensitivity(small, declaration, observed, "units")
    variance = rows["layer"][:, -1].var() + rows["decoder"][:, 0].var()
    assert covariance[0, 0] == pytest.approx(1.001 * variance)
    assert energy.shape == (1, 1)


def test_an_axis_that_no_site_reads_has_nothing_that_is_felt() -> None:
    unread = NetworkAxes({**PLAIN.axes, "other": 3}, PLAIN.dimensions, PLAIN.sites, PLAIN.produced)
    covariance, energy = reader_sensitivity(made.filled(PLAIN), unread, observed_of(PLAIN), "other")
    np.testing.assert_allclose(covariance, 1e-15 * np.eye(3), rtol=1e-9, atol=1e-30)
    np.testing.assert_array_equal(energy, np.zeros((3, 3)))


def test_readers_that_hear_nothing_are_no_division_by_zero() -> None:
    arrays = {name: np.zeros_like(array) for name, array in made.filled(PLAIN).items()}
    still = {name: moments_of(np.zeros_like(each)) for name, each in rows_of(PLAIN).items()}
    found = reader_sensitivity(arrays, PLAIN, ActivationStatistics(still, 300), "units")
    np.testing.assert_allclose(found[0], 1e-15 * np.eye(made.UNITS), rtol=1e-9, atol=1e-30)
    np.testing.assert_array_equal(found[1], np.zeros((made.UNITS, made.UNITS)))
    loud = made.filled(PLAIN)
    _, energy = reader_sensitivity(loud, PLAIN, ActivationStatistics(still, 300), "embedding")
    matrix = loud["layer.input"].astype(np.float64)
    np.testing.assert_allclose(energy, matrix.T @ matrix / 1e-30, rtol=1e-9)


def expected_order(
    arrays: Arrays,
    declaration: NetworkAxes,
    observed: ActivationStatistics,
    saved: dict[str, float],
    min_kept: int,
) -> list[tuple[str, int]]:
    """Always the axis whose next component costs least for what it saves."""
    left = {}
    for axis in saved:
        felt = reader_sensitivity(arrays, declaration, observed, axis)
        order = removal_order(axis, *felt, min_kept=min_kept)
        left[axis] = list(zip(order.costs, order.components.tolist(), strict=True))
    found = []
    while any(left.values()):
        axis = min(
            (axis for axis in saved if left[axis]), key=lambda axis: left[axis][0][0] / saved[axis]
        )
        found.append((axis, left[axis].pop(0)[1]))
    return found


SAVED = {
    # A unit: 2 rows of gates over 5 + 6 inputs and its bias, a column of the recurrence (2 x 6, of
    # which 2 are counted with the rows), and one of the decoder.
    "units": (2 * 11 + 2 + 12 - 2 + made.WORDS, 2 * 11 + 12 - 2 + made.WORDS),
    "embedding": (made.WORDS + 12, 12),
}
PARAMETERS = made.WORDS * 5 + 12 * 11 + 12 + made.WORDS * 7
WORK = 12 * 11 + made.WORDS * 6


@pytest.mark.parametrize("min_kept", [1, 4])
@pytest.mark.parametrize("count", COUNTS)
def test_components_go_by_cost_for_what_they_save(
    count: Literal["parameters", "mult_adds", "both", "components"], min_kept: int
) -> None:
    assert (axes.parameters(PLAIN), axes.mult_adds(PLAIN)) == (PARAMETERS, WORK)
    arrays, observed = made.filled(PLAIN), observed_of(PLAIN)
    plan = rank_components(
        arrays,
        PLAIN,
        observed,
        prunable=["units", "embedding"],
        count=count,
        min_kept=min_kept,
        rotate_axes=False,
    )
    saved = {
        axis: {
            "parameters": float(fewer),
            "mult_adds": float(less),
            "both": fewer / PARAMETERS + less / WORK,
            "components": 1.0,
        }[count]
        for axis, (fewer, less) in SAVED.items()
    }
    assert list(plan.order) == expected_order(arrays, PLAIN, observed, saved, min_kept)
    assert len(plan.order) == made.UNITS + made.EMBEDDING - 2 * min_kept
    np.testing.assert_allclose(plan.savings, [saved[axis] for axis, _ in plan.order], rtol=1e-12)
    assert plan.arrays is arrays
    assert plan.declaration == plan.whole == PLAIN
    assert plan.moments is observed.moments


def test_four_of_every_axis_stay_and_savings_count_both_where_nothing_is_asked_for() -> None:
    arrays, observed = made.filled(PLAIN), observed_of(PLAIN)
    plan = rank_components(arrays, PLAIN, observed, prunable=["units", "embedding"])
    assert sorted(axis for axis, _ in plan.order) == ["embedding", "units", "units"]
    fewer, less = SAVED["units"]
    assert max(plan.savings) == pytest.approx(fewer / PARAMETERS + less / WORK)
    assert plan.arrays["embedding.weight"] is not arrays["embedding.weight"]  # it is rotated
    assert "bottleneck" not in plan.declaration.axes


def test_a_cost_takes_the_place_of_a_count() -> None:
    def cost(declaration: NetworkAxes) -> float:
        return 10.0 + 0.5 * declaration.axes["units"]  # the embedding saves nothing

    plan = rank_components(
        made.filled(PLAIN),
        PLAIN,
        observed_of(PLAIN),
        prunable=["units", "embedding"],
        min_kept=1,
        cost=cost,
    )
    assert [axis for axis, _ in plan.order] == ["units"] * 5 + ["embedding"] * 4
    np.testing.assert_allclose(plan.savings, [0.5] * 5 + [13e-6] * 4, rtol=1e-9)


def test_axes_of_one_size_lose_a_component_each_at_a_time() -> None:
    even = axes.resized(PLAIN, {"units": made.EMBEDDING})
    arrays, observed, both = made.filled(even), observed_of(even), ["units", "embedding"]

    def plan(prunable: list[str], **options: list[list[str]]) -> RemovalPlan:
        return rank_components(
            arrays, even, observed, prunable=prunable, min_kept=2, rotate_axes=False, **options
        )

    alone, together = plan(both), plan(both, equal=[both])
    saved = {axis: saving for (axis, _), saving in zip(alone.order, alone.savings, strict=True)}
    assert [axis for axis, _ in together.order] == both * 3
    for axis in both:
        own, joint = ([c for a, c in each.order if a == axis] for each in (alone, together))
        assert own == joint
    np.testing.assert_allclose(together.savings, [sum(saved.values()), 0.0] * 3)
    for share in np.linspace(0, 1, 20):
        keep, _ = kept_indices(together, share)
        assert len(keep["units"]) == len(keep["embedding"])
    assert plan(["units"], equal=[both]).order == ()  # one alone may not shrink


def test_of_components_that_cost_the_same_those_that_their_axis_gives_first_go_first() -> None:
    arrays = {name: np.zeros_like(array) for name, array in made.filled(PLAIN).items()}
    plan = rank_components(
        arrays, PLAIN, observed_of(PLAIN), prunable=["units", "embedding"], rotate_axes=False
    )
    assert list(plan.order) == [("embedding", 0), ("units", 0), ("units", 1)]


@pytest.mark.parametrize("prunable", [["embedding", "units"], ["units"]])
def test_an_embedding_that_may_be_pruned_is_ranked_in_its_principal_axes(
    prunable: list[str],
) -> None:
    arrays, observed = made.filled(PLAIN), observed_of(PLAIN)
    plan = rank_components(arrays, PLAIN, observed, prunable=prunable, min_kept=1)
    if "embedding" not in prunable:
        assert plan.arrays is arrays
        return
    basis = principal_axes(*reader_sensitivity(arrays, PLAIN, observed, "embedding"))
    expected = rotate(arrays, PLAIN, "embedding", basis)
    for name, array in expected.items():
        np.testing.assert_array_equal(plan.arrays[name], array)
    turned = rotated_moments(observed.moments, PLAIN, "embedding", basis)
    np.testing.assert_array_equal(plan.moments["layer"].covariance, turned["layer"].covariance)
    # The last columns carry least, so they go first.
    assert [each for axis, each in plan.order if axis == "embedding"] == [4, 3, 2, 1]


def narrow_plan(frequencies: bool = True) -> RemovalPlan:
    return rank_components(
        made.filled(PLAIN),
        PLAIN,
        observed_of(PLAIN, frequencies=frequencies),
        prunable=["units"],
        min_kept=1,
        narrow=[BOTTLENECK],
    )


def test_a_bottleneck_is_ranked_beside_what_may_be_pruned() -> None:
    plan = narrow_plan()
    assert plan.whole == PLAIN
    assert plan.declaration == declare_narrow(PLAIN, BOTTLENECK)
    assert {axis for axis, _ in plan.order} == {"units", "bottleneck"}
    observed = observed_of(PLAIN, frequencies=True)
    assert plan.moments["bottleneck"] is observed.moments["decoder"] or np.array_equal(
        plan.moments["bottleneck"].second, observed.moments["decoder"].second
    )
    # What is put in passes on what the decoder read, in another basis.
    product = plan.arrays["decoder.weight"] @ plan.arrays["bottleneck.weight"]
    np.testing.assert_allclose(product, made.filled(PLAIN)["decoder.weight"], rtol=0, atol=1e-5)


def test_a_bottleneck_is_felt_by_the_weights_of_the_tokens_and_dearer() -> None:
    declaration = declare_narrow(PLAIN, BOTTLENECK)
    arrays, observed = made.filled(declaration), observed_of(declaration, frequencies=True)
    assert observed.frequencies is not None
    weights = np.sqrt(observed.frequencies + 1)[:, None]
    decoder = arrays["decoder.weight"].astype(np.float64) * weights
    below = decoder @ arrays["bottleneck.weight"].astype(np.float64)

    def energy(matrix: Matrix, site: str, columns: slice) -> Matrix:
        covariance = observed.moments[site].covariance[columns, columns]
        return matrix.T @ matrix / np.trace(matrix @ covariance @ matrix.T)  # type: ignore[no-any-return]

    units = slice(made.EMBEDDING, made.EMBEDDING + made.UNITS)
    recurrent = arrays["layer.units"].astype(np.float64)
    everything = slice(None)
    found = reader_sensitivity(arrays, declaration, observed, "bottleneck")[1]
    np.testing.assert_allclose(found, 6 * energy(decoder, "decoder", everything), rtol=1e-9)
    found = reader_sensitivity(arrays, declaration, observed, "units")[1]
    expected = energy(recurrent, "layer", units) + energy(below, "bottleneck", everything)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def plan_of(*savings: float) -> RemovalPlan:
    """Of units in their order, and what each saves."""
    order = tuple(("units", component) for component in (3, 0, 5, 1)[: len(savings)])
    moments = observed_of(PLAIN).moments
    return RemovalPlan(made.filled(PLAIN), PLAIN, PLAIN, order, np.array(savings), moments)


@pytest.mark.parametrize(
    ("share", "gone", "reached"),
    [
        (0.0, [], 0.0),
        (0.24, [], 0.0),
        (0.25, [3], 0.25),  # what is reached exactly is gone
        (0.49, [3], 0.25),
        (0.5, [3, 0], 0.5),
        (0.74, [3, 0], 0.5),
        (1.0, [3, 0, 5], 1.0),
    ],
)
def test_components_go_until_the_share_is_gone(
    share: float, gone: list[int], reached: float
) -> None:
    keep, found = kept_indices(plan_of(1.0, 1.0, 2.0), share)
    assert keep["units"].tolist() == [each for each in range(made.UNITS) if each not in gone]
    assert keep["embedding"].tolist() == list(range(made.EMBEDDING))
    assert found == reached


@pytest.mark.parametrize("correction", ["inputs", "means", "nothing"])
def test_a_pruned_network_is_the_repaired_one_cut(
    correction: Literal["inputs", "means", "nothing"],
) -> None:
    plan = plan_of(1.0, 1.0, 2.0)
    found = prune(plan, 0.6, correction)
    keep = {"units": np.array([1, 2, 4, 5]), "embedding": np.arange(made.EMBEDDING)}
    repaired = repair(plan.arrays, PLAIN, keep, plan.moments, correction)
    small, declaration = axes.select_components(repaired, PLAIN, keep)
    masked = axes.mask_components(repaired, PLAIN, keep)
    assert found.declaration == declaration
    assert (found.share, found.correction) == (0.5, correction)
    assert {axis: index.tolist() for axis, index in found.keep.items()} == {
        axis: index.tolist() for axis, index in keep.items()
    }
    for name, array in small.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        np.testing.assert_array_equal(found.reference[name], masked[name])
    assert prune(plan, 0.6).correction == "inputs"


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_a_bottleneck_that_does_not_pay_is_multiplied_back(share: float) -> None:
    plan = narrow_plan()
    found = prune(plan, share)
    width = len(kept_indices(plan, share)[0]["bottleneck"])
    units = len(found.keep["units"])
    pays = width * (made.WORDS + units + 1) < units * made.WORDS
    assert ("bottleneck" in found.declaration.axes) is pays
    assert found.keep.keys() == found.declaration.axes.keys()
    found.declaration.check(found.arrays)
    # The reference at full size says what the small one says, its removed units held at zero.
    hidden = np.random.default_rng(0).normal(size=(20, made.UNITS))

    def logits(arrays: Arrays, top: Matrix) -> Matrix:
        if pays:
            top = top @ arrays["bottleneck.weight"].T + arrays["bottleneck.bias"]
        return top @ arrays["decoder.weight"].T + arrays["decoder.bias"]

    kept = found.keep["units"]
    held = np.zeros_like(hidden)
    held[:, kept] = hidden[:, kept]
    np.testing.assert_allclose(
        logits(found.arrays, hidden[:, kept]), logits(found.reference, held), rtol=0, atol=1e-5
    )
    assert ("bottleneck.weight" in found.reference) is pays


def test_a_bottleneck_that_was_given_stays() -> None:
    given = declare_narrow(PLAIN, BOTTLENECK)  # as wide as the layer: it does not pay
    plan = RemovalPlan(
        made.filled(given),
        given,
        given,
        (("units", 0),),
        np.ones(1),
        observed_of(given).moments,
    )
    assert "bottleneck" in prune(plan, 1.0).declaration.axes


@pytest.mark.parametrize(
    ("limit", "tried", "found"),
    [
        (0.0, [0.2, 0.1, 0.05, 0.025, 0.0125], None),
        (0.15, [0.2, 0.1, 0.15, 0.175, 0.1625], 0.15),
        (0.45, [0.2, 0.4, 0.6, 0.5, 0.45, 0.475, 0.4625], 0.45),
        (1.0, [0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.975, 0.9875], 0.9875),
    ],
)
def test_search_climbs_a_grid_and_halves_what_is_left(
    limit: float, tried: list[float], found: float | None
) -> None:
    asked = list[float]()

    def evaluate(share: float) -> Probe:
        asked.append(share)
        return Probe(share, share <= limit + 1e-9)

    assert bisect_share(evaluate) == (None if found is None else pytest.approx(found))
    assert asked == pytest.approx(tried)


@pytest.mark.parametrize(
    ("last", "limit", "found", "count"),
    [
        (0.5, 1.0, 1.0, 9),  # half of all goes in one piece, and all may go
        (0.5, 0.6, 0.9875, 9),  # it is tried and refused
        (0.05, 1.0, 0.9875, 8),  # what is left is too little to be tried
        (0.5, 0.3, 0.3, 6),  # a share was refused before
    ],
)
def test_a_large_last_piece_is_tried_where_nothing_was_refused(
    last: float, limit: float, found: float, count: int
) -> None:
    asked = list[float]()

    def evaluate(share: float) -> Probe:
        asked.append(share)
        gone = share if share == 1 else min(share, 1 - last)
        return Probe(gone, gone <= limit)

    assert bisect_share(evaluate) == pytest.approx(found, abs=0.02)
    assert (len(asked), asked.count(1.0)) == (count, count - 8 if count > 8 else 0)


@pytest.mark.parametrize("savings", [[0.1] * 10, [0.7, 0.0, 0.0, 0.1, 0.2, 0.3], [3.0]])
def test_all_of_an_order_goes_at_a_share_of_one(savings: list[float]) -> None:
    count = min(len(savings), PLAIN.axes["units"])
    order = tuple(("units", number) for number in range(count))
    plan = RemovalPlan(made.filled(PLAIN), PLAIN, PLAIN, order, np.array(savings[:count]), {})
    keep, gone = kept_indices(plan, 1.0)
    assert gone == 1.0
    assert len(keep["units"]) == PLAIN.axes["units"] - count


def test_search_takes_the_grid_and_the_steps_that_it_is_given() -> None:
    asked = list[float]()

    def evaluate(share: float) -> Probe:
        asked.append(share)
        return Probe(share, share <= 0.3)

    assert bisect_share(evaluate, grid=(0.5,), refinements=2) == 0.25
    assert asked == [0.5, 0.25, 0.375]
    assert bisect_share(evaluate, grid=(), refinements=0) is None
