"""The basis of a linear axis: the best at every width, refused where the function would change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import (
    AxisMismatch,
    InputMatrix,
    NetworkAxes,
    PreActivation,
    Segment,
)
from isslim.compress.pruning.moments import Moments
from isslim.compress.pruning.narrow import BOTTLENECK
from isslim.compress.pruning.rotation import (
    RIDGE,
    linear_axes,
    principal_axes,
    rotate,
    rotated_moments,
)

Matrix = NDArray[np.float64]
E, K = Segment("embedding", 6), Segment("bottleneck", 3)
UNITS, WORDS = Segment("units", 4), Segment(None, 9)
GATES = (Segment("units", 4, repeat=2),)


def declared() -> NetworkAxes:
    """Sites that read an embedding, a decoder behind a bottleneck; `gates` joins two segments."""
    fixed = Segment(None, 2)
    return NetworkAxes(
        {"embedding": 6, "units": 4, "bottleneck": 3},
        {
            "embedding.weight": ((WORDS,), (E,)),
            "gates": (GATES, (fixed, E)),
            "recurrent": (GATES, (UNITS,)),
            "more": ((Segment(None, 5),), (E,)),
            "bottleneck.weight": ((K,), (UNITS,)),
            "bottleneck.bias": ((K,),),
            "decoder.weight": ((WORDS,), (K,)),
        },
        (
            PreActivation("bottleneck", (InputMatrix("bottleneck.weight", ("units",)),), None),
            PreActivation("more", (InputMatrix("more", ("embedding",)),), None),
            PreActivation(
                "layer",
                (
                    InputMatrix("recurrent", ("units",)),
                    InputMatrix("more", ("embedding:before",)),
                ),
                None,
            ),
            PreActivation("decoder", (InputMatrix("decoder.weight", ("bottleneck",)),), None),
        ),
        {},
        (BOTTLENECK,),
    )


def simple() -> NetworkAxes:
    """The same without the array of two segments."""
    declaration = declared()
    dimensions = {name: each for name, each in declaration.dimensions.items() if name != "gates"}
    return replace(declaration, dimensions=dimensions)


def with_array(name: str, *dimensions: axes.Dimension) -> NetworkAxes:
    """`simple` with one array more."""
    declaration = simple()
    return replace(declaration, dimensions={**declaration.dimensions, name: dimensions})


def orthogonal(size: int) -> Matrix:
    basis, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(size, size)))
    return basis  # type: ignore[no-any-return]


def filled(declaration: NetworkAxes) -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    return {
        name: generator.normal(size=axes.shape(declaration, name)).astype(np.float32)
        for name in declaration.dimensions
    }


def test_embedding_and_bottleneck_are_linear_and_units_are_not() -> None:
    assert linear_axes(simple()) == ["embedding", "bottleneck"]


def test_an_axis_that_shares_a_dimension_or_repeats_in_it_is_not_linear() -> None:
    assert linear_axes(declared()) == ["bottleneck"]  # [fixed; embedding] of `gates`
    assert linear_axes(with_array("x", (WORDS,), (Segment("embedding", 6, repeat=2),))) == [
        "bottleneck"
    ]


@pytest.mark.parametrize(
    ("dimensions", "left"),
    [
        (((E,), (Segment(None, 3),)), ["bottleneck"]),  # rows of what is no embedding
        (((WORDS,), (E,)), ["bottleneck"]),  # columns that no site reads
        (((E,),), ["bottleneck"]),
        (((WORDS,), (K,)), ["embedding"]),
        (((WORDS,), (UNITS,)), ["embedding", "bottleneck"]),
    ],
)
def test_an_axis_that_is_used_in_another_way_is_not_linear(
    dimensions: tuple[axes.Dimension, ...], left: list[str]
) -> None:
    assert linear_axes(with_array("x", *dimensions)) == left


def test_a_tied_embedding_is_not_linear() -> None:
    assert linear_axes(replace(simple(), produced={"embedding.weight": "e"})) == ["bottleneck"]
    assert linear_axes(replace(simple(), produced={"more": "e"})) == ["embedding", "bottleneck"]


def test_an_axis_that_is_read_and_made_by_no_known_matrix_is_not_linear() -> None:
    declaration = simple()
    dimensions = {
        name.replace("embedding.weight", "table"): each
        for name, each in declaration.dimensions.items()
    }
    assert linear_axes(replace(declaration, dimensions=dimensions)) == ["bottleneck"]
    del dimensions["table"]
    assert linear_axes(replace(declaration, dimensions=dimensions)) == ["bottleneck"]


@pytest.mark.parametrize("axis", ["embedding", "bottleneck"])
def test_products_of_turned_matrices_stay(axis: str) -> None:
    declaration = simple()
    arrays = filled(declaration)
    before = {name: array.copy() for name, array in arrays.items()}
    turned = rotate(arrays, declaration, axis, orthogonal(declaration.axes[axis]))
    of_axis = {
        "embedding": {"embedding.weight", "more"},
        "bottleneck": {"bottleneck.weight", "bottleneck.bias", "decoder.weight"},
    }[axis]
    for name, array in turned.items():
        assert array.dtype == np.float32
        assert (array is arrays[name]) is (name not in of_axis)
        assert np.allclose(array, before[name], atol=0.05) is (name not in of_axis)
        np.testing.assert_array_equal(arrays[name], before[name])

    def products(of: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        return [
            of["embedding.weight"] @ of["more"].T,
            of["decoder.weight"] @ of["bottleneck.weight"],
            of["decoder.weight"] @ of["bottleneck.bias"],
        ]

    for found, expected in zip(products(turned), products(before), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_moments_are_those_of_turned_rows() -> None:
    declaration, basis = simple(), orthogonal(6)
    generator = np.random.default_rng(0)
    rows = {
        site.name: generator.normal(1.0, 1.0, (50, sum(p.size for p in declaration.parts(site))))
        for site in declaration.sites
    }
    moments = {name: Moments.of(each.astype(np.float32), 20) for name, each in rows.items()}
    before = {name: each.whole.outer.copy() for name, each in moments.items()}
    found = rotated_moments(moments, declaration, "embedding", basis)
    rows["more"] = rows["more"] @ basis
    rows["layer"][:, 4:] = rows["layer"][:, 4:] @ basis
    for name, each in rows.items():
        expected = Moments.of(each.astype(np.float32), 20)
        assert found[name].count == 50
        assert found[name].half.count == 20
        for got, wanted in zip(found[name].halves, expected.halves, strict=True):
            np.testing.assert_allclose(got.total, wanted.total, rtol=0, atol=1e-4)
            np.testing.assert_allclose(got.outer, wanted.outer, rtol=0, atol=1e-3)
        np.testing.assert_array_equal(moments[name].whole.outer, before[name])
    assert found["decoder"] is moments["decoder"]


def drawn(size: int, rows: int = 4000) -> tuple[Matrix, Matrix]:
    """Centred rows (N, H), and a matrix that reads them."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(rows, size)) @ generator.normal(size=(size, size))
    matrix = generator.normal(size=(5, size)) * np.linspace(3, 0.1, size)
    return values - values.mean(0), matrix


def test_first_columns_lose_no_more_than_any_other_basis_at_every_width() -> None:
    values, matrix = drawn(7)

    def lost(basis: Matrix) -> float:
        """By least squares on the rows: what the reader loses through these columns."""
        seen, wanted = values @ basis, values @ matrix.T
        solution, *_ = np.linalg.lstsq(seen, wanted, rcond=None)
        return float(np.square(wanted - seen @ solution).mean())

    covariance = values.T @ values / len(values)
    best = principal_axes(covariance, matrix.T @ matrix)
    np.testing.assert_allclose(best.T @ best, np.eye(7), rtol=0, atol=1e-10)
    plain = principal_axes(covariance)
    for width in range(1, 6):
        # Slow reference (Izenman): the error of the best fit of that rank is the rest of the fitted
        # values' spectrum.
        fitted = values @ matrix.T
        rest = np.linalg.svd(fitted, compute_uv=False)[width:]
        assert lost(best[:, :width]) == pytest.approx(
            np.square(rest).sum() / fitted.size, rel=1e-2, abs=1e-4
        )
        assert lost(best[:, :width]) <= lost(plain[:, :width]) + 1e-9
        for seed in range(20):
            other, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(7, width)))
            assert lost(best[:, :width]) <= lost(other) + 1e-9


def test_plain_axes_are_those_of_the_singular_value_decomposition() -> None:
    values, _ = drawn(7)
    right = np.linalg.svd(values, full_matrices=False)[2]
    found = principal_axes(values.T @ values / len(values))
    np.testing.assert_allclose(np.abs(np.sum(found * right.T, axis=0)), 1.0, rtol=0, atol=1e-9)


def test_subspaces_are_those_of_the_generalised_eigenvectors() -> None:
    """The span of the first columns is that of C^-1/2 U, here without a decomposition of C."""
    values, matrix = drawn(6)
    covariance, energy = values.T @ values / len(values), matrix.T @ matrix
    exact = covariance + RIDGE * np.trace(covariance) / 6 * np.eye(6)
    # G C x = a x has the eigenvectors C^-1/2 U.
    found, vectors = np.linalg.eig(energy @ exact)
    order = np.argsort(-found.real)
    basis = principal_axes(covariance, energy)
    for width in range(1, 6):
        span, _ = np.linalg.qr(vectors.real[:, order[:width]])
        seen = np.linalg.svd(span.T @ basis[:, :width], compute_uv=False)
        np.testing.assert_allclose(seen, 1.0, rtol=0, atol=1e-7)


def test_basis_of_a_covariance_that_rounding_made_indefinite_is_orthogonal() -> None:
    generator = np.random.default_rng(3)
    row, energy = generator.normal(size=8), generator.normal(size=(8, 8))
    covariance = np.outer(row, row) - 1e-3 * np.eye(8)
    assert np.linalg.eigvalsh(covariance)[0] < 0
    basis = principal_axes(covariance, energy.T @ energy)
    np.testing.assert_allclose(basis.T @ basis, np.eye(8), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("variances", "felt", "first"),
    [((1.0, 2e-4), 4500, 1), ((100.0, 0.02), 4500, 1), ((1e-3, 2e-7), 3000, 0)],
)
def test_a_little_is_added_to_every_variance_in_the_scale_of_the_axis(
    variances: tuple[float, float], felt: float, first: int
) -> None:
    """A direction that hardly moved counts as if it moved a little more."""
    basis = principal_axes(np.diag(variances), np.diag([1.0, felt]))
    assert int(np.argmax(np.abs(basis[:, 0]))) == first


def test_an_axis_that_never_moved_has_a_basis() -> None:
    basis = principal_axes(np.zeros((3, 3)), np.diag([1.0, 3.0, 2.0]))
    np.testing.assert_allclose(np.abs(basis), np.eye(3)[:, [1, 2, 0]], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("basis", "axis", "why"),
    [
        (orthogonal(6) * 1.01, "embedding", "the basis is not orthogonal: Q'Q differs from 1 by 2"),
        (orthogonal(6) + 1e-7, "embedding", "not orthogonal"),
        (np.full((6, 6), np.nan), "embedding", "not orthogonal"),
        (orthogonal(5), "embedding", r"has shape \(5, 5\), 'embedding' needs \(6, 6\)"),
        (np.ones((6, 5)), "embedding", "has shape"),
        (orthogonal(4), "units", "'units' cannot be rotated: it is not linear, or not there"),
        (orthogonal(4), "nowhere", "not there"),
    ],
)
def test_what_would_change_the_function_is_refused(basis: Any, axis: str, why: str) -> None:
    declaration = simple()
    with pytest.raises(AxisMismatch, match=why):
        rotate(filled(declaration), declaration, axis, basis)


def test_rounding_of_a_basis_is_no_reason_to_refuse_it() -> None:
    declaration = simple()
    rotate(filled(declaration), declaration, "embedding", orthogonal(6) * (1 + 4e-9))
