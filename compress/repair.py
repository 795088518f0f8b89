"""Closed-form repair: what the removed components said is folded into the readers of the kept ones.

A site computes `bias + W u` from its concatenated inputs u. After removal it is offered v = T u instead (T selects
the kept components, or, behind a repaired tied embedding, mixes them). The best linear stand-in is

    u ~ M v + m,   M = Cov(u, v) (Cov(v, v) + ridge)^-1,   m = E[u] - M E[v]

so the matrix becomes W M and W m joins the bias. A site without a bias has no place for m: there M = E[u v'] (E[v v'] +
ridge)^-1. All inputs of a site are regressed jointly: a removed recurrent unit may be told by the layer's input as well as by
its neighbours. Exact algebra, no gradient.

Legend: D width of a site's inputs, K of what it is offered.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from compress.axes import Array, Arrays, Declaration, Keep, Part
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
        parts = declaration.parts(site)
        if all(
            (part.axis is None or len(kept[part.axis]) == part.size) and part.activation not in offered
            for part in parts
        ):
            continue
        blocks = [
            offered.get(part.activation, np.eye(part.size) if part.axis is None else np.eye(part.size)[kept[part.axis]])
            for part in parts
        ]
        mixing, offset = _regress(parts, blocks, moments[site.name], centred=site.bias is not None)
        joint = np.concatenate([arrays[reader.parameter].astype(np.float64) for reader in site.readers], axis=1)
        repaired = joint @ mixing  # (out, K)
        for reader in site.readers:
            result[reader.parameter] = np.zeros_like(arrays[reader.parameter], dtype=np.float32)
        column = 0
        for part, block in zip(parts, blocks, strict=True):
            reader = site.readers[part.reader]
            stay = part.offset + (np.arange(part.size) if part.axis is None else kept[part.axis])
            columns = slice(column, column + len(block))
            result[reader.parameter][:, stay] = repaired[:, columns]
            produced = declaration.produced.get(reader.parameter)
            if produced is not None:
                # Rows of the repaired matrix are the new embeddings: e' = M' e, (K, H).
                offered[produced] = mixing[part.inputs, columns].T
            column = columns.stop
        if site.bias is not None:
            # Added to what stands there by now: two sites may share a bias.
            result[site.bias] = (result[site.bias].astype(np.float64) + joint @ offset).astype(np.float32)
    return result


def _regress(
    parts: list[Part], blocks: list[NDArray[np.float64]], moments: Moments, *, centred: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """M (D, K) and m (D,) of the module docstring, each part offered its block of T (K_i, H_i)."""
    transform = np.zeros((sum(map(len, blocks)), sum(part.size for part in parts)))
    row = 0
    for part, block in zip(parts, blocks, strict=True):
        transform[row : row + len(block), part.inputs] = block
        row += len(block)
    cross = (moments.covariance if centred else moments.second) @ transform.T  # (D, K)
    gram = transform @ cross  # (K, K)
    # One ridge per observation scale: embeddings and hidden states differ by orders of magnitude.
    gram[np.diag_indices_from(gram)] *= 1 + RIDGE
    gram[np.diag_indices_from(gram)] += 1e-9
    mixing: NDArray[np.float64] = np.linalg.solve(gram, cross.T).T.astype(np.float64, copy=False)
    offset = moments.mean - mixing @ (transform @ moments.mean)
    return mixing, offset if centred else np.zeros_like(offset)
