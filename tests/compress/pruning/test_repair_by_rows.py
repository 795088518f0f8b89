"""Repair against regressions on the rows themselves, site by site, behind a tied embedding too."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import InputMatrix, NetworkAxes, PreActivation, Segment
from isslim.compress.pruning.moments import Moments, Sums
from isslim.compress.pruning.repair import repair
from isslim.compress.pruning.shrinkage import SKETCHED, Half, chosen_ridge, scales, sketch

Matrix = NDArray[np.float64]
Rows = dict[str, Matrix]
H, UNITS = 5, 6
KEEP = {"top": np.array([0, 2, 3]), "units": np.array([1, 2, 4])}


def tied(bias: str | None, outputs: int = 8) -> NetworkAxes:
    """A layer reads [embedding; fixed; units], the decoder the top, with the embedding's matrix.

    A third site reads the units alone and has the layer's bias.
    """
    wide, top, units = Segment(None, outputs), Segment("top", H), Segment("units", UNITS)
    dimensions = {
        "gates": ((wide,), (top, Segment(None, 3))),
        "recurrent": ((wide,), (units,)),
        "tied": ((Segment(None, 9),), (top,)),
        "further": ((wide,), (units,)),
    }
    sites = (
        PreActivation(
            "layer",
            (InputMatrix("gates", ("embedding", "fixed")), InputMatrix("recurrent", ("units",))),
            bias,
        ),
        PreActivation("further", (InputMatrix("further", ("units",)),), bias),
        PreActivation("decoder", (InputMatrix("tied", ("top",)),), "decoder.bias"),
    )
    dimensions["decoder.bias"] = ((Segment(None, 9),),)
    if bias:
        dimensions[bias] = ((wide,),)
    return NetworkAxes({"top": H, "units": UNITS}, dimensions, sites, {"tied": "embedding"})


def drawn(count: int) -> Rows:
    """Correlated rows with means, of each site (N, D)."""
    generator = np.random.default_rng(3)
    hidden = generator.normal(size=(count, 5))
    values = np.tanh(hidden @ generator.normal(size=(5, 2 * H + 3 + UNITS)) + 0.3)
    values += 0.1 * generator.normal(size=values.shape)
    embedding, fixed, units, top = np.split(values, [H, H + 3, H + 3 + UNITS], axis=1)
    return {
        "layer": np.concatenate([embedding, fixed, units], axis=1),
        "further": units,
        "decoder": top,
    }


def moments(rows: Matrix) -> Moments:
    """In double precision, unlike `Moments.of`; the first half of the rows is the half."""
    whole, half = (
        Sums(len(each), each.sum(0), each.T @ each) for each in (rows, rows[: len(rows) // 2])
    )
    return Moments(whole, half)


def half(y: Matrix, v: Matrix, weights: Matrix, *, centred: bool) -> Half:
    """What some rows say, read from the rows."""
    means = [each.mean(0) if centred else np.zeros(each.shape[1]) for each in (y, v)]
    z, centre = (y - means[0]) @ weights.T, v - means[1]
    return Half(
        len(y),
        centre.T @ centre / len(y),
        z.T @ centre / len(y),
        means[1],
        weights @ means[0],
        float(np.square(z).sum() / len(y)),
    )


def regression(
    y: Matrix, v: Matrix, weights: Matrix, groups: NDArray[np.int64], *, centred: bool
) -> tuple[Matrix, Matrix]:
    """M (R, K) and m (R,) with which v tells y, as far as one half tells the other."""
    none = np.zeros((y.shape[1], v.shape[1])), y.mean(0)
    cut = len(y) // 2
    if cut < 2:
        return none
    if len(weights) > SKETCHED:
        weights = sketch(len(weights)) @ weights
    one, other = (
        half(y[place], v[place], weights, centred=centred)
        for place in (slice(cut), slice(cut, None))
    )
    ridge = chosen_ridge((one, other), groups)
    if np.isinf(ridge):
        return none
    middle = v.mean(0) if centred else 0.0
    pull = np.diag(np.sqrt(len(v) * ridge * scales(np.square(v - middle).mean(0), groups)))
    target = np.concatenate(
        [y - (y.mean(0) if centred else 0.0), np.zeros((len(pull), y.shape[1]))]
    )
    found = np.linalg.lstsq(np.concatenate([v - middle, pull]), target, rcond=None)[0].T
    return found, y.mean(0) - found @ v.mean(0)


def by_rows(
    arrays: axes.Arrays,
    rows: Rows,
    bias: str | None,
    correction: Literal["inputs", "means", "nothing"],
) -> dict[str, Matrix]:
    """The small network, by a regression of what each site loses on what it is offered."""
    exact = {name: array.astype(np.float64) for name, array in arrays.items()}
    top, units = KEEP["top"], KEEP["units"]
    gone_top, gone_units = np.setdiff1d(np.arange(H), top), np.setdiff1d(np.arange(UNITS), units)

    def told(
        y: Matrix, v: Matrix, weights: Matrix, groups: list[int], *, centred: bool
    ) -> tuple[Matrix, Matrix]:
        if correction == "inputs":
            return regression(y, v, weights, np.array(groups), centred=centred)
        mean = y.mean(0) if correction == "means" else np.zeros(y.shape[1])
        return np.zeros((y.shape[1], v.shape[1])), mean

    small: dict[str, Matrix] = {}
    read = rows["decoder"]
    mixing, offset = told(
        read[:, gone_top], read[:, top], exact["tied"][:, gone_top], [0] * 3, centred=True
    )
    small["tied"] = exact["tied"][:, top] + exact["tied"][:, gone_top] @ mixing
    small["decoder.bias"] = exact["decoder.bias"] + exact["tied"][:, gone_top] @ offset
    # Rows of the tied matrix are embeddings: they changed as its columns did.
    embedding, fixed, unit = np.split(rows["layer"], [H, H + 3], axis=1)
    turned = embedding[:, top] + embedding[:, gone_top] @ mixing
    offered = np.concatenate([turned, fixed, unit[:, units]], axis=1)
    missing = embedding.copy()
    missing[:, top] -= turned
    lost = np.concatenate([missing, unit[:, gone_units]], axis=1)
    felt = np.concatenate([exact["gates"][:, :H], exact["recurrent"][:, gone_units]], axis=1)
    mixing, offset = told(lost, offered, felt, [0] * 3 + [1] * 3 + [2] * 3, centred=bool(bias))
    kept = np.concatenate(
        [exact["gates"][:, top], exact["gates"][:, H:], exact["recurrent"][:, units]], axis=1
    )
    small["gates"], small["recurrent"] = np.split(kept + felt @ mixing, [6], axis=1)
    shift = felt @ offset
    felt, alone = exact["further"][:, gone_units], rows["further"]
    mixing, offset = told(alone[:, gone_units], alone[:, units], felt, [0] * 3, centred=bool(bias))
    small["further"] = exact["further"][:, units] + felt @ mixing
    if bias:
        small[bias] = exact[bias] + shift + felt @ offset
    return small


def filled(declaration: NetworkAxes) -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng(1)
    return {
        name: generator.normal(size=axes.shape(declaration, name)).astype(np.float32)
        for name in declaration.dimensions
    }


@pytest.mark.parametrize("correction", ["inputs", "means", "nothing"])
@pytest.mark.parametrize("count", [3, 4, 5, 12, 60, 900])
@pytest.mark.parametrize(("bias", "outputs"), [("bias", 8), (None, 8), ("bias", SKETCHED + 1)])
def test_repair_is_the_regression_of_every_site_on_what_it_is_offered(
    bias: str | None, outputs: int, count: int, correction: Literal["inputs", "means", "nothing"]
) -> None:
    declaration, rows = tied(bias, outputs), drawn(count)
    arrays = filled(declaration)
    before = {name: array.copy() for name, array in arrays.items()}
    observed = {name: moments(each) for name, each in rows.items()}
    repaired = repair(arrays, declaration, KEEP, observed, correction)
    small, _ = axes.select_components(repaired, declaration, KEEP)
    expected = by_rows(arrays, rows, bias, correction)
    assert small.keys() == expected.keys()
    for name, array in small.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=2e-5)
        assert array.dtype == np.float32
        np.testing.assert_array_equal(arrays[name], before[name])
    # At full size the columns of removed components hold nothing.
    for name, columns in (("tied", [1, 4]), ("recurrent", [0, 3, 5]), ("gates", [1, 4])):
        assert not repaired[name][:, columns].any()


def test_as_many_outputs_as_are_sketched_are_taken_as_they_are() -> None:
    declaration, rows = tied("bias", SKETCHED), drawn(60)
    arrays = filled(declaration)
    observed = {name: moments(each) for name, each in rows.items()}
    repaired = repair(arrays, declaration, KEEP, observed)
    small, _ = axes.select_components(repaired, declaration, KEEP)
    expected = by_rows(arrays, rows, "bias", "inputs")
    np.testing.assert_allclose(small["gates"], expected["gates"], rtol=1e-4, atol=2e-5)


def test_sites_that_lose_nothing_are_handed_on() -> None:
    declaration, rows = tied("bias"), drawn(60)
    arrays = filled(declaration)
    observed = {name: moments(each) for name, each in rows.items()}
    untouched = repair(arrays, declaration, {}, observed)
    assert all(untouched[name] is array for name, array in arrays.items())
    units = repair(arrays, declaration, {"units": KEEP["units"]}, observed)
    assert units["tied"] is arrays["tied"]
    assert not np.array_equal(units["gates"], arrays["gates"])  # the embedding tells of the units


def test_a_single_row_in_a_half_is_no_sample() -> None:
    declaration, rows = tied("bias"), drawn(4)
    arrays = filled(declaration)
    one = {
        name: Moments(moments(each).whole, moments(each[:2]).half) for name, each in rows.items()
    }
    by_means = repair(arrays, declaration, KEEP, one, "means")
    for name, array in repair(arrays, declaration, KEEP, one).items():
        np.testing.assert_array_equal(array, by_means[name])
