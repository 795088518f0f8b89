"""Closed-form repair: the part of the removed components is folded into the readers of the kept.

A site computes `bias + W u` from its concatenated inputs u. After removal it gets v = T u
instead: the kept components, or, after a repaired tied embedding, linear combinations of them. The
entries of u that it reads are predicted from v by

    u ~ M v + m,   M = S' + (Cov(u, v) - S' Cov(v, v)) (Cov(v, v) + ridge)^-1,   m = E[u] - M E[v]

where S selects the kept components: only the deviation from "kept components do not change" is
fitted, so that the kept ones are reproduced exactly, whatever the data. The matrix becomes W M and
W m joins the bias. A site without a bias cannot absorb m: there second moments replace covariances.
All inputs of a site are regressed jointly: a removed recurrent unit may be predicted from the
layer's input as well as from its neighbours. How far the fit is shrunk is chosen for each site by
the data (`shrinkage`), in the metric of its output, or of what reads that of a narrow layer.

A narrow layer y = P a + c of which inputs are gone passes on P M v + P m + c in place of y. Where
it was put in, and P only turns a, that is T y and a constant, with T = P M S P': what reads it is
regressed on what it gets.

Legend: D width of a site's inputs, K of what it is offered, R rows of u that are not simply kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isslim.compress.pruning import narrow
from isslim.compress.pruning.axes import Array, Arrays, InputSlice, Keep, NetworkAxes, PreActivation
from isslim.compress.pruning.moments import Moments, Sums
from isslim.compress.pruning.shrinkage import SKETCHED, Half, Matrix, chosen_ridge, ridged, sketch

Correction = Literal["inputs", "means", "nothing"]
"""The replacement of a removed component: a combination of the kept inputs, its mean, or zero."""
Indices = NDArray[np.int64]
ORTHOGONAL = 1e-3
"""The largest entry of P P' - 1 of a matrix that only turns what it reads."""


def repair(
    arrays: Arrays,
    declaration: NetworkAxes,
    keep: Keep,
    moments: Mapping[str, Moments],
    correction: Correction = "inputs",
    ridges: dict[str, float] | None = None,
) -> dict[str, Array]:
    """Rewrites every site so that it reads only kept components.

    Args:
        arrays: the network, full size.
        declaration: its axes and sites.
        keep: per axis the kept indices; an axis not named stays whole.
        moments: per site name, the moments of its concatenated inputs (D,) in the unpruned network.
        correction: the replacement of the removed components.
        ridges: by site the ridge of an earlier repair of the same network (`shrinkage`), to be
            taken again: to choose one takes most of the time of a large repair. Those of other
            sites are added. None: each is chosen.

    Returns:
        Arrays of the same full size in which the matrices' columns at removed components are zero:
        `axes.select_components` of them is the small network, `axes.mask_components` of them its
        reference.
    """
    result = dict(arrays)
    kept = {axis: keep.get(axis, np.arange(size)) for axis, size in declaration.axes.items()}
    mixed: dict[str, _Mixed] = {}  # by activation, where that is no selection
    narrow_axes = {place.name: place.axis for place in declaration.narrow}
    # A tied matrix is repaired first: it changes the inputs of the sites after the embedding.
    for site in sorted(
        declaration.sites,
        key=lambda s: all(r.parameter not in declaration.produced for r in s.readers),
    ):
        offered = _offered(declaration, site, kept, mixed)
        if not len(offered.rows):
            continue
        joint = np.concatenate(
            [arrays[reader.parameter].astype(np.float64) for reader in site.readers], axis=1
        )
        weights = _weights(site, joint[:, offered.rows], arrays, declaration)
        known = None if ridges is None else ridges.get(site.name)
        centred = site.bias is not None
        mixing, offset, ridge = _stand_in(
            offered, moments[site.name], weights, centred, correction, known
        )
        if ridges is not None:
            ridges[site.name] = ridge
        repaired = joint[:, offered.stay] + joint[:, offered.rows] @ mixing  # (out, K)
        for reader in site.readers:
            result[reader.parameter] = np.zeros_like(arrays[reader.parameter])
        for part, columns in offered.parts:
            reader = site.readers[part.reader]
            result[reader.parameter][:, part.offset + _kept(part, kept)] = repaired[:, columns]
            produced = declaration.produced.get(reader.parameter)
            if produced is not None:
                # Rows of the repaired matrix are the new embeddings: e' = M' e, (K, H).
                whole = np.zeros((len(joint[0]), len(offered.stay)))
                whole[offered.stay, np.arange(len(offered.stay))] = 1
                whole[offered.rows] += mixing
                mixed[produced] = _Mixed(whole[part.inputs, columns].T, bare=True)
        axis = narrow_axes.get(site.name)
        if axis is not None and _turns(joint):
            passed = offered.read(repaired[kept[axis]]) @ joint.T
            mixed[axis] = _Mixed(passed, bare=False)
        if site.bias is not None and correction != "nothing":
            # Added to the current value: two sites may share a bias. The rows of a kernel are
            # those of each place of its window, which are summed.
            added = (joint[:, offered.rows] @ offset).reshape(-1, len(result[site.bias]))
            offsets = result[site.bias].astype(np.float64) + added.sum(axis=0)
            result[site.bias] = offsets.astype(np.float32)
    return result


@dataclass(frozen=True)
class _Mixed:
    """What becomes of an activation of H components.

    Attributes:
        transform: T (K, H), from it to what is offered in its place.
        bare: whether T is all; else a constant is added that keeps the means.
    """

    transform: Matrix
    bare: bool


def _turns(matrix: Matrix) -> bool:
    """Whether a matrix is orthogonal."""
    square = len(matrix) == len(matrix[0])
    return square and bool(
        np.abs(matrix @ matrix.T - np.eye(len(matrix))).max(initial=0.0) < ORTHOGONAL
    )


def _weights(
    site: PreActivation, columns: Matrix, arrays: Arrays, declaration: NetworkAxes
) -> Matrix:
    """What is felt (S, R) of some columns (out, R) of a site's matrix, or mixtures of that."""
    above = narrow.above(site, arrays, declaration)
    rows = len(columns) if above is None else len(above)
    if rows > SKETCHED:
        mixtures = sketch(rows)
        return (mixtures if above is None else mixtures @ above) @ columns
    return columns if above is None else above @ columns


@dataclass(frozen=True)
class _Offered:
    """What a site is offered in place of its inputs u.

    Attributes:
        parts: its activations, each with the slice of v that it is offered.
        stay: of each component of v, the input (K,) that it stands for.
        rows: inputs (R,) that v does not simply hold: removed ones, and all of an activation that
            is mixed.
        groups: of each component of v, the activation that it belongs to (K,).
        transform: T (K, D); None: v is u at `stay`.
        bare: of each component of v (K,), whether T is all that makes it (`_Mixed`).
    """

    parts: list[tuple[InputSlice, slice]]
    stay: Indices
    rows: Indices
    groups: Indices
    transform: Matrix | None
    bare: NDArray[np.bool_]

    def read(self, matrix: Matrix) -> Matrix:
        """What a matrix (out, K) that reads v makes of u: (out, D)."""
        if self.transform is not None:
            return matrix @ self.transform
        whole = np.zeros((len(matrix), self.parts[-1][0].inputs.stop))
        whole[:, self.stay] = matrix
        return whole

    def of(self, sums: Sums, *, centred: bool) -> _Seen:
        """The moments of v and of y, the R rows of u less what v already holds of them.

        Args:
            sums: over u.
            centred: whether the site has a bias; without one, second moments are taken.
        """
        second, mean = (
            (sums.covariance, sums.mean) if centred else (sums.second, np.zeros_like(sums.total))
        )
        if self.transform is None:
            cross, seen = second[:, self.stay], mean[self.stay]
            gram = cross[self.stay]
        else:
            cross = second @ self.transform.T
            seen = np.where(self.bare, self.transform @ mean, mean[self.stay])
            gram = self.transform @ cross
        # Of a mixed activation v holds something close to the component itself: what is left is the
        # difference.
        column = np.full(len(mean), -1)
        column[self.stay] = np.arange(len(self.stay))
        column = column[self.rows]
        held, here = np.flatnonzero(column >= 0), column[column >= 0]
        left, average, spread = (
            cross[self.rows],
            mean[self.rows],
            second[np.ix_(self.rows, self.rows)],
        )
        spread[:, held] -= left[:, here]
        left[held] -= gram[here]
        spread[held] -= left[:, here].T
        average[held] -= seen[here]
        return _Seen(left, gram, average, seen, spread)


@dataclass(frozen=True)
class _Seen:
    """Cov(y, v) (R, K), Cov(v, v) (K, K), E[y] (R,), E[v] (K,) and Cov(y, y) (R, R).

    Where there is no place for a mean: second moments, and means of zero.
    """

    cross: Matrix
    gram: Matrix
    rows: Matrix
    inputs: Matrix
    spread: Matrix

    def half(self, count: int, weights: Matrix) -> Half:
        """The same as a half of the data, y weighted as the site weights it.

        Args:
            count: rows of the half.
            weights: (S, R) of the site for y.
        """
        return Half.mixed(
            count, weights, self.cross, self.gram, self.spread, self.rows, self.inputs
        )


def _offered(
    declaration: NetworkAxes, site: PreActivation, kept: Keep, mixed: Mapping[str, _Mixed]
) -> _Offered:
    parts, stay, rows, groups = [], list[Indices](), list[Indices](), list[Indices]()
    column = 0
    for index, part in enumerate(declaration.parts(site)):
        here = part.start + _kept(part, kept)
        parts.append((part, slice(column, column + len(here))))
        stay.append(here)
        groups.append(np.full(len(here), index))
        everything = np.arange(part.start, part.start + part.size)
        rows.append(everything if part.activation in mixed else np.setdiff1d(everything, here))
        column += len(here)
    transform, bare = None, np.ones(column, bool)
    if any(part.activation in mixed for part, _ in parts):
        transform = np.zeros((column, sum(part.size for part, _ in parts)))
        for (part, columns), here in zip(parts, stay, strict=True):
            if part.activation in mixed:
                transform[columns, part.inputs] = mixed[part.activation].transform
                bare[columns] = mixed[part.activation].bare
            else:
                transform[columns, here] = np.eye(len(here))
    return _Offered(
        parts, np.concatenate(stay), np.concatenate(rows), np.concatenate(groups), transform, bare
    )


def _kept(part: InputSlice, kept: Keep) -> Indices:
    """Which of a part's components stay."""
    return np.arange(part.size) if part.axis is None else kept[part.axis]


def _stand_in(
    offered: _Offered,
    moments: Moments,
    weights: Matrix,
    centred: bool,
    correction: Correction,
    known: float | None,
) -> tuple[Matrix, Matrix, float]:
    """What is added to M (R, K) at the rows that are not simply kept, m (R,) there, and the ridge.

    The ridge is infinite where nothing is predicted; it is chosen where it is not known.
    """
    seen = offered.of(moments.whole, centred=centred)
    nothing = np.zeros_like(seen.cross)
    if correction != "inputs" or min(half.count for half in moments.halves) < 2:
        return nothing, seen.rows, np.inf
    if known is None:
        one, other = (
            offered.of(sums, centred=centred).half(sums.count, weights) for sums in moments.halves
        )
        known = chosen_ridge((one, other), offered.groups)
    if not np.isfinite(known):
        return nothing, seen.rows, known
    solved = np.linalg.solve(ridged(seen.gram, known, offered.groups), seen.cross.T)
    mixing: Matrix = solved.T.astype(np.float64, copy=False)
    return mixing, seen.rows - mixing @ seen.inputs, known
