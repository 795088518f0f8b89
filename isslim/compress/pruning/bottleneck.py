"""A narrow linear layer before a decoder with a large vocabulary, which saves most of its work.

The decoder's logits W h are near a space of few dimensions. So the same function is first written
with one layer more,

    logits = W h + d   =   W (B h + c) + d,   B = 1, c = 0

and the width K of that layer is an axis like any other: its basis is free (`rotation`), a component
of it is removed with its row of B and its column of W, and its part is folded into the others
(`repair`). It replaces V H weights by K (V + H): a low-rank softmax (Sainath et al., ICASSP 2013),
found by the algebra that selects units, and weighed against them. Where too much of it remains to
be worthwhile, both matrices are multiplied into one again.

A component's cost is the share of the logits' energy that it carries, each row of W weighted by how
often its token occurs in the calibration text, since the loss's sensitivity to a logit is about its
probability. The units below are weighed through both matrices, since the bottleneck alone is a
change of basis. An error here reaches the output directly, while the gates of a recurrent layer
correct much of an error in their inputs: measured on Penn Treebank, the same share costs some
`DIRECT` times as much.

Legend: V vocabulary, H units of the last layer, K width of the bottleneck.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from isslim.compress.pruning.axes import (
    Array,
    Arrays,
    InputMatrix,
    NetworkAxes,
    PreActivation,
    Segment,
    shape,
)

AXIS, WEIGHT, BIAS = "bottleneck", "bottleneck.weight", "bottleneck.bias"
DECODER = "decoder"
"""The site that reads it."""
MIN_RATIO = 4
"""Smallest ratio of vocabulary to the last layer's units at which a bottleneck saves work."""
DIRECT = 6.0
"""From 4 to 10 the outcome is the same to half a per cent (2 x 650 units, 0.36 of the
multiply-adds)."""


def is_applicable(declaration: NetworkAxes) -> bool:
    """Whether a bottleneck can be inserted, and may pay.

    It takes an untied decoder of many rows, and no bottleneck yet.
    """
    decoder = _decoder(declaration)
    if decoder is None or AXIS in declaration.axes:
        return False
    (reader,) = decoder.readers
    rows, columns = shape(declaration, reader.parameter)
    return reader.parameter not in declaration.produced and rows >= MIN_RATIO * columns


def declare_bottleneck(declaration: NetworkAxes, width: int | None = None) -> NetworkAxes:
    """The declaration with a bottleneck.

    Args:
        declaration: with a decoder of one matrix and a bias.
        width: of the bottleneck; None: as wide as the last layer.

    Raises:
        ValueError: when there is no such decoder.
    """
    decoder = _decoder(declaration)
    if decoder is None:
        raise ValueError("there is no decoder of one matrix for a bottleneck to stand before")
    (reader,) = decoder.readers
    vocabulary, top = declaration.dimensions[reader.parameter]
    narrow = (Segment(AXIS, sum(segment.size for segment in top) if width is None else width),)
    return replace(
        declaration,
        axes={**declaration.axes, AXIS: narrow[0].size},
        dimensions={
            **declaration.dimensions,
            WEIGHT: (narrow, top),
            BIAS: (narrow,),
            reader.parameter: (vocabulary, narrow),
        },
        sites=(
            *(site for site in declaration.sites if site is not decoder),
            PreActivation(AXIS, (InputMatrix(WEIGHT, reader.activations),), BIAS),
            replace(decoder, readers=(replace(reader, activations=(AXIS,)),)),
        ),
    )


def insert(arrays: Arrays, declaration: NetworkAxes) -> tuple[dict[str, Array], NetworkAxes]:
    """The same network with a bottleneck that passes everything on.

    Args:
        arrays: the network.
        declaration: its axes.

    Requires: `is_applicable(declaration)`.
    """
    wider = declare_bottleneck(declaration)
    width = wider.axes[AXIS]
    return {
        **arrays,
        WEIGHT: np.eye(width, dtype=np.float32),
        BIAS: np.zeros(width, np.float32),
    }, wider


def pays(declaration: NetworkAxes) -> bool:
    """Whether the bottleneck holds fewer weights than the decoder without it."""
    if AXIS not in declaration.axes:
        return False
    rows, _ = shape(declaration, _matrix(declaration))
    width, columns = shape(declaration, WEIGHT)
    return width * (rows + columns + 1) < rows * columns


def without_bottleneck(declaration: NetworkAxes) -> NetworkAxes:
    """The declaration without its bottleneck: the decoder reads the last layer itself."""
    (top,) = (site for site in declaration.sites if site.name == AXIS)
    matrix = _matrix(declaration)
    vocabulary, _ = declaration.dimensions[matrix]
    sites = []
    for site in declaration.sites:
        if site.name == DECODER:
            site = replace(site, readers=(InputMatrix(matrix, top.readers[0].activations),))
        if site is not top:
            sites.append(site)
    dimensions = {
        name: each for name, each in declaration.dimensions.items() if name not in (WEIGHT, BIAS)
    }
    dimensions[matrix] = (vocabulary, declaration.dimensions[WEIGHT][1])
    axes = {axis: size for axis, size in declaration.axes.items() if axis != AXIS}
    return replace(declaration, axes=axes, dimensions=dimensions, sites=tuple(sites))


def fold(arrays: Arrays, declaration: NetworkAxes) -> tuple[dict[str, Array], NetworkAxes]:
    """The same network without its bottleneck, whose matrix is multiplied into the decoder's.

    Args:
        arrays: the network.
        declaration: its axes, a bottleneck among them.
    """
    decoder, bias = (
        _matrix(declaration),
        str(next(site.bias for site in declaration.sites if site.name == DECODER)),
    )
    weight = arrays[decoder].astype(np.float64)
    plain = {name: array for name, array in arrays.items() if name not in (WEIGHT, BIAS)}
    plain[decoder] = (weight @ arrays[WEIGHT]).astype(np.float32)
    plain[bias] = (arrays[bias] + weight @ arrays[BIAS]).astype(np.float32)
    return plain, without_bottleneck(declaration)


def sensitivity(
    matrix: NDArray[np.float64],
    site: PreActivation,
    arrays: Arrays,
    declaration: NetworkAxes,
    frequencies: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """A site's matrix, weighted by its effect on the output of a network with a bottleneck.

    Args:
        matrix: some columns (out, D) of a reader of the site.
        site: the bottleneck's acts through the decoder; it and the decoder's are weighted by the
            frequencies of the tokens.
        arrays: the network.
        declaration: its axes.
        frequencies: of the tokens (V,); None: all alike.

    Returns:
        (V, D) of the bottleneck and the decoder, the matrix itself of any other site.
    """
    if site.name == AXIS:
        matrix = arrays[_matrix(declaration)].astype(np.float64) @ matrix
    elif site.name != DECODER:
        return matrix
    return matrix if frequencies is None else matrix * np.sqrt(frequencies + 1)[:, None]


def _decoder(declaration: NetworkAxes) -> PreActivation | None:
    """The site, where it is one matrix that reads one activation, with a bias."""
    for site in declaration.sites:
        if site.name == DECODER and site.bias is not None:
            return site if [len(reader.activations) for reader in site.readers] == [1] else None
    return None


def _matrix(declaration: NetworkAxes) -> str:
    """The decoder's."""
    return next(site.readers[0].parameter for site in declaration.sites if site.name == DECODER)
