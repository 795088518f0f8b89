"""Closed-form repair: what the removed components said is folded into the readers of the kept ones.

A site computes `bias + W u` from its concatenated inputs u. After removal it is offered v = T u instead (T selects
the kept components, or, behind a repaired tied embedding, mixes them). The best linear stand-in is

    u ~ M v + m,   M = Cov(u, v) (Cov(v, v) + ridge)^-1,   m = E[u] - M E[v]

so the matrix becomes W M and W m joins the bias. All inputs of a site are regressed jointly: a removed recurrent
unit may be told by the layer's input as well as by its neighbours. Exact algebra, no gradient.

Legend: D width of a site's inputs, K of what it is offered.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from compress.axes import Array, Arrays, Declaration, Keep, Site
from compress.moments import Moments

RIDGE = 1e-3


def repair(arrays: Arrays, declaration: Declaration, keep: Keep, moments: Mapping[str, Moments]) -> dict[str, Array]:
    """Rewrites every site so that it reads only kept components.

    Args:
        arrays: the network, full size.
        declaration: its axes and sites.
        keep: per axis the kept indices; an axis not named stays whole.
        moments: per site name, the moments of its concatenated inputs (D,) in the unpruned network.

    Returns:
        Arrays of the same full size in which the matrices' columns at removed components are zero: `axes.take` of
        them is the small network, `axes.silence` of them its reference.
    """
    result = dict(arrays)
    kept = {axis: keep.get(axis, np.arange(size)) for axis, size in declaration.axes.items()}
    offered: dict[str, NDArray[np.float64]] = {}  # activation -> T (K, H)
    # A tied matrix is repaired first: it changes what the sites behind the embedding are offered.
    for site in sorted(
        declaration.sites, key=lambda s: all(r.parameter not in declaration.produced for r in s.readers)
    ):
        if all(
            len(kept[reader.axis]) == declaration.axes[reader.axis] and reader.activation not in offered
            for reader in site.readers
        ):
            continue
        mixing, offset = _regress(site, declaration, kept, moments[site.name], offered)
        start, columns = 0, 0
        change = np.zeros(len(result[site.bias]))
        whole = [arrays[reader.parameter].astype(np.float64) for reader in site.readers]
        joint = np.concatenate(whole, axis=1)  # (out, D)
        repaired = joint @ mixing  # (out, K)
        change += joint @ offset
        for reader, matrix in zip(site.readers, whole, strict=True):
            indices = kept[reader.axis]
            new = np.zeros_like(matrix, dtype=np.float32)
            new[:, indices] = repaired[:, columns : columns + len(indices)]
            result[reader.parameter] = new
            produced = declaration.produced.get(reader.parameter)
            if produced is not None:
                # Rows of the repaired matrix are the new embeddings: e' = M' e, (K, H).
                offered[produced] = mixing[start : start + matrix.shape[1], columns : columns + len(indices)].T
            start, columns = start + matrix.shape[1], columns + len(indices)
        result[site.bias] = (result[site.bias].astype(np.float64) + change).astype(np.float32)
    return result


def _regress(
    site: Site,
    declaration: Declaration,
    kept: Keep,
    moments: Moments,
    offered: Mapping[str, NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """M (D, K) and m (D,) of the module docstring."""
    widths = [declaration.axes[reader.axis] for reader in site.readers]
    blocks = [
        offered.get(reader.activation, np.eye(w)[kept[reader.axis]])
        for reader, w in zip(site.readers, widths, strict=True)
    ]
    transform = np.zeros((sum(map(len, blocks)), sum(widths)))
    row = column = 0
    for block in blocks:
        transform[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    cross = moments.covariance @ transform.T  # (D, K)
    gram = transform @ cross  # (K, K)
    # One ridge per observation scale: embeddings and hidden states differ by orders of magnitude.
    gram[np.diag_indices_from(gram)] *= 1 + RIDGE
    gram[np.diag_indices_from(gram)] += 1e-9
    mixing: NDArray[np.float64] = np.linalg.solve(gram, cross.T).T.astype(np.float64, copy=False)
    return mixing, moments.mean - mixing @ (transform @ moments.mean)
