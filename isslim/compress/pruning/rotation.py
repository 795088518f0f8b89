"""Rotates a linear axis before a cut, to isolate the components that matter least to its readers.

There is nothing between a looked-up embedding and the matrices that read it: with an orthogonal Q,

    embedding' = embedding Q,   W' = W Q   gives   W' e' = W Q Q' e = W e

so the function does not change, and the basis is free. Without that freedom a cut can only drop the
columns of the trained basis, all of which carry information. The columns of Q are the principal
axes of the embedding, weighted by each token's frequency in the calibration text and by the
readers' weights: the best K-dimensional approximation of e is the span of C^(-1/2) U_K, with U the
eigenvectors of C^(1/2) G C^(1/2) (reduced-rank regression, Izenman 1975; C the covariance of the
embedding over the text, G = sum of W'W over its readers). These subspaces are nested, so that one
Q, their columns made orthonormal in this order, holds the best one of every width. With G = 1 this
is plain PCA.

The width of a narrow layer is such an axis too: there is nothing between its rows and the matrix
that reads them (`narrow`). The width of a tied embedding is not: its components are also units, and
there is a sigmoid between a unit and its gates.

Legend: E components of the axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from isslim.compress.pruning.axes import Array, Arrays, AxisMismatch, NetworkAxes
from isslim.compress.pruning.moments import Moments, Sums
from isslim.types.axis_names import is_channels

Matrix = NDArray[np.float64]
RIDGE = 1e-4
"""Added to the covariance, relative to its mean variance: a short text leaves some directions
without any."""
LOOKED_UP = "embedding.weight"


def linear_axes(declaration: NetworkAxes) -> list[str]:
    """The axes whose basis is free.

    They are made by the columns of the looked-up matrix or by the rows of a narrow layer, are read
    by columns of matrices, and are used in no other way. Channels of a graph are none, whatever its
    constants are called: an activation may stand before what reads them.
    """
    rows = {name for place in declaration.narrow for name in (place.weight, place.bias)}
    columns = {
        (site.readers[part.reader].parameter, part.axis)
        for site in declaration.sites
        for part in declaration.parts(site)
    }
    looked_up = {LOOKED_UP} - declaration.produced.keys()
    linear = []
    for axis in declaration.axes:
        places = [
            (name, position, len(dimension), segment.repeat)
            for name, dimensions in declaration.dimensions.items()
            for position, dimension in enumerate(dimensions)
            for segment in dimension
            if segment.axis == axis
        ]
        free = all(
            (segments, repeat) == (1, 1)
            and (name in rows if position == 0 else name in looked_up or (name, axis) in columns)
            for name, position, segments, repeat in places
        )
        begun = any(name in looked_up or name in rows for name, *_ in places)
        if free and begun and not is_channels(axis):
            linear.append(axis)
    return linear


def principal_axes(covariance: Matrix, energy: Matrix | None = None) -> Matrix:
    """The orthogonal basis Q (E, E) of the module's docstring, most important column first.

    Args:
        covariance: C (E, E) of the axis over the calibration text.
        energy: Gram matrix G (E, E) of the readers; None for the identity, which is plain PCA.
    """
    return principal(covariance, energy)[0]


def principal(covariance: Matrix, energy: Matrix | None = None) -> tuple[Matrix, Matrix]:
    """`principal_axes`, and what the readers lose with each column that goes, the last one first.

    Args:
        covariance: C (E, E) of the axis over the calibration text.
        energy: Gram matrix G (E, E) of the readers; None for the identity, which is plain PCA.

    Returns:
        Q (E, E), and the eigenvalues (E,) of C^(1/2) G C^(1/2), falling: the best approximation of
        width K loses the sum of those after the K-th.
    """
    size = len(covariance)
    ridge = RIDGE * max(float(np.diag(covariance).mean()), 1e-12)
    values, vectors = np.linalg.eigh(covariance + ridge * np.eye(size))
    values = values.clip(
        min=ridge
    )  # with sums in single precision the smallest may be slightly negative
    if energy is None:
        basis: Matrix = vectors[:, ::-1]
        return basis, values[::-1]
    root = np.sqrt(values)
    weighted = (
        (vectors * root).T @ energy @ (vectors * root)
    )  # C^(1/2) G C^(1/2) in the eigenvectors of C
    losses, order = np.linalg.eigh(weighted)
    basis, _ = np.linalg.qr((vectors / root) @ order[:, ::-1])
    return basis, losses[::-1].clip(min=0.0)


def rotate(arrays: Arrays, declaration: NetworkAxes, axis: str, basis: Matrix) -> dict[str, Array]:
    """The same network in another basis of a linear axis.

    Args:
        arrays: the network.
        declaration: its axes.
        axis: one of `linear_axes`.
        basis: orthogonal Q (E, E), whose columns become the components.

    Ensures: the function is unchanged up to the rounding of float32.

    Raises:
        AxisMismatch: when the axis is not linear, or the basis not orthogonal or of another size.
    """
    if axis not in linear_axes(declaration):
        raise AxisMismatch([f"'{axis}' cannot be rotated: it is not linear, or not there"])
    size = declaration.axes[axis]
    if basis.shape != (size, size):
        raise AxisMismatch([f"the basis has shape {basis.shape}, '{axis}' needs {(size, size)}"])
    error = float(np.abs(basis.T @ basis - np.eye(size)).max())
    if not error < 1e-8:  # so that NaN fails too
        raise AxisMismatch([f"the basis is not orthogonal: Q'Q differs from 1 by {error:.1e}"])
    turned = dict(arrays)
    for name, dimensions in declaration.dimensions.items():
        for position, dimension in enumerate(dimensions):
            if any(segment.axis == axis for segment in dimension):
                array = arrays[name].astype(np.float64)
                turned[name] = (array @ basis if position else basis.T @ array).astype(np.float32)
    return turned


def rotated_moments(
    moments: Mapping[str, Moments], declaration: NetworkAxes, axis: str, basis: Matrix
) -> dict[str, Moments]:
    """The moments of the rotated network's site inputs, by algebra.

    Args:
        moments: per site, of the network before the rotation.
        declaration: its axes.
        axis: that was rotated.
        basis: orthogonal Q (E, E).
    """
    turned = dict(moments)
    for site in declaration.sites:
        if not declaration.reads(site, axis):
            continue
        places = [part.inputs for part in declaration.parts(site) if part.axis == axis]
        turned[site.name] = moments[site.name].mapped(rotated_inputs(places, basis))
    return turned


def rotated_inputs(places: Sequence[slice], basis: Matrix) -> Callable[[Sums], Sums]:
    """What turns a site's sums when parts of its inputs turn.

    Args:
        places: of the parts among the inputs, each of E.
        basis: orthogonal Q (E, E).
    """
    return partial(_rotated, places, basis)


def _rotated(places: Sequence[slice], basis: Matrix, before: Sums) -> Sums:
    total, outer = before.total.copy(), before.outer.copy()
    for place in places:
        total[place] = total[place] @ basis
        outer[place] = basis.T @ outer[place]
        outer[:, place] = outer[:, place] @ basis
    return Sums(before.count, total, outer)
