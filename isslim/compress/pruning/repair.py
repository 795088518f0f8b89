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
the data (`shrinkage`), in the metric of its output.

Legend: D width of a site's inputs, K of what it is offered, R rows of u that are not simply kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isslim.compress.pruning.axes import Array, Arrays, InputSlice, Keep, NetworkAxes, PreActivation
from isslim.compress.pruning.moments import Moments, Sums
from isslim.compress.pruning.shrinkage import SKETCHED, Half, Matrix, chosen_ridge, ridged, sketch

Correction = Literal["inputs", "means", "nothing"]
"""The replacement of a removed component: a combination of the kept inputs, its mean, or zero."""
Indices = NDArray[np.int64]


def repair(
    arrays: Arrays,
    declaration: NetworkAxes,
    keep: Keep,
    moments: Mapping[str, Moments],
    correction: Correction = "inputs",
) -> dict[str, Array]:
    """Rewrites every site so that it reads only kept components.

    Args:
        arrays: the network, full size.
        declaration: its axes and sites.
        keep: per axis the kept indices; an axis not named stays whole.
        moments: per site name, the moments of its concatenated inputs (D,) in the unpruned network.
        correction: the replacement of the removed components.

    Returns:
        Arrays of the same full size in which the matrices' columns at removed components are zero:
        `axes.select_components` of them is the small network, `axes.mask_components` of them its
        reference.
    """
    result = dict(arrays)
    kept = {axis: keep.get(axis, np.arange(size)) for axis, size in declaration.axes.items()}
    mixed: dict[str, Matrix] = {}  # activation -> T (K, H), where that is no selection
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
        mixing, offset = _stand_in(
            offered, moments[site.name], joint, site.bias is not None, correction
        )
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
                mixed[produced] = whole[part.inputs, columns].T
        if site.bias is not None and correction != "nothing":
            # Added to the current value: two sites may share a bias.
            added = joint[:, offered.rows] @ offset
            result[site.bias] = (result[site.bias].astype(np.float64) + added).astype(np.float32)
    return result


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
    """

    parts: list[tuple[InputSlice, slice]]
    stay: Indices
    rows: Indices
    groups: Indices
    transform: Matrix | None

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
            cross, seen = second @ self.transform.T, self.transform @ mean
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
    declaration: NetworkAxes, site: PreActivation, kept: Keep, mixed: Mapping[str, Matrix]
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
    transform = None
    if any(part.activation in mixed for part, _ in parts):
        transform = np.zeros((column, sum(part.size for part, _ in parts)))
        for (part, columns), here in zip(parts, stay, strict=True):
            if part.activation in mixed:
                transform[columns, part.inputs] = mixed[part.activation]
            else:
                transform[columns, here] = np.eye(len(here))
    return _Offered(
        parts, np.concatenate(stay), np.concatenate(rows), np.concatenate(groups), transform
    )


def _kept(part: InputSlice, kept: Keep) -> Indices:
    """Which of a part's components stay."""
    return np.arange(part.size) if part.axis is None else kept[part.axis]


def _stand_in(
    offered: _Offered, moments: Moments, joint: Matrix, centred: bool, correction: Correction
) -> tuple[Matrix, Matrix]:
    """What is added to M (R, K) at the rows that are not simply kept, and m (R,) there."""
    seen = offered.of(moments.whole, centred=centred)
    nothing = np.zeros_like(seen.cross)
    if correction != "inputs" or min(half.count for half in moments.halves) < 2:
        return nothing, seen.rows
    weights = joint[:, offered.rows]  # (out, R)
    if len(weights) > SKETCHED:
        weights = sketch(len(weights)) @ weights
    one, other = (
        offered.of(sums, centred=centred).half(sums.count, weights) for sums in moments.halves
    )
    ridge = chosen_ridge((one, other), offered.groups)
    if not np.isfinite(ridge):
        return nothing, seen.rows
    solved = np.linalg.solve(ridged(seen.gram, ridge, offered.groups), seen.cross.T)
    mixing: Matrix = solved.T.astype(np.float64, copy=False)
    return mixing, seen.rows - mixing @ seen.inputs
