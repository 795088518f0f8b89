"""Narrow linear layers, which save most of the work of what they stand before.

What a matrix reads is near a space of few dimensions: the last layer of a decoder with a large
vocabulary, the layer below of a recurrent one, a layer's own output of the step before. So the same
function is first written with one layer more,

    W a + d   =   A (P a + c) + d,   A = W, P = 1, c = 0

and the width K of that layer is an axis like any other: its basis is free (`rotation`), a component
of it is removed with its row of P and its column of A, and its part is folded into the others
(`repair`). It replaces R D weights by K (R + D): a low-rank softmax (Sainath et al., ICASSP 2013)
where it stands before a decoder, there called the bottleneck; an LSTM with projection (Sak et al.,
Interspeech 2014), but one for each reader, where it stands in a recurrence. All are found by the
algebra that selects units, and weighed against them. Where too much of one remains to be
worthwhile, both matrices are multiplied into one again.

A component's cost is the share of the readers' energy that it carries; in a decoder each row of A
is weighted by how often its token occurs in the calibration text, since the loss's sensitivity to a
logit is about its probability. What is below is weighed through both matrices, since a narrow layer
alone is a change of basis. An error before the decoder reaches the output directly, while the gates
of a recurrent layer correct much of an error in their inputs: measured on Penn Treebank, the same
share costs some `DIRECT` times as much.

Legend: R rows and D columns of the matrix W, K width of the narrow layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from isslim.compress.pruning import blocks
from isslim.compress.pruning.axes import (
    Array,
    Arrays,
    Dimension,
    InputMatrix,
    NarrowPlace,
    NetworkAxes,
    PreActivation,
    Segment,
    mult_adds,
    shape,
)
from isslim.compress.pruning.moments import Moments, Sums

BOTTLENECK = NarrowPlace(
    "bottleneck", "bottleneck", "bottleneck.weight", "bottleneck.bias", blocks.DECODER, 0
)
"""The narrow layer before a whole decoder."""
MIN_RATIO = 4
"""Smallest ratio of vocabulary to the last layer's units at which a bottleneck saves work."""
DIRECT = 6.0
"""From 4 to 10 the outcome is the same to half a per cent (2 x 650 units, 0.36 of the
multiply-adds)."""


def may_narrow_softmax(declaration: NetworkAxes) -> bool:
    """Whether a bottleneck, or a decoder in blocks, fits and may pay.

    It takes an untied decoder of one matrix of many rows, and no narrow layer there yet.
    """
    decoder = blocks.plain_decoder(declaration)
    if decoder is None:
        return False
    rows, columns = shape(declaration, decoder.readers[0].parameter)
    return rows >= MIN_RATIO * columns


def misfit(declaration: NetworkAxes, place: NarrowPlace) -> str | None:
    """Why a narrow layer cannot be put into a place; None: it can.

    Args:
        declaration: of the network.
        place: that it does not have yet.
    """
    if place.axis in declaration.axes:
        return f"there is an axis '{place.axis}' already"
    sites = {site.name: site for site in declaration.sites}
    read: list[InputMatrix] = []
    for name, position in place.readers:
        site = sites.get(name)
        if site is None or position >= len(site.readers):
            return f"there is no site '{name}' with a matrix {position}"
        read.append(site.readers[position])
        if site.bias is None:
            return f"'{name}' has no bias that would take the narrow layer's"
        if read[-1].parameter in declaration.produced:
            return f"'{read[-1].parameter}' is tied to what it reads"
        if read[-1].activations != read[0].activations:
            return f"'{read[-1].parameter}' does not read what '{read[0].parameter}' does"
    return None


def declare_narrow(
    declaration: NetworkAxes, place: NarrowPlace, width: int | None = None
) -> NetworkAxes:
    """The declaration with a narrow layer, whose site stands right before the one that reads it.

    Args:
        declaration: without it.
        place: where it goes.
        width: K; None: as wide as what the matrix reads.

    Raises:
        ValueError: when it cannot stand there.
    """
    wrong = misfit(declaration, place)
    if wrong is not None:
        raise ValueError(f"no narrow layer fits before '{place.site}': {wrong}")
    reader = _site(declaration, place.site).readers[place.reader]
    columns = declaration.dimensions[reader.parameter][1]
    size = sum(segment.size for segment in columns) if width is None else width
    narrow = (Segment(place.axis, size),)
    # Before those of the matrices that follow in the same site.
    later = {each.name for each in declaration.narrow if _follows(each, place)}
    later |= {name for name, _ in place.readers}
    sites: list[PreActivation] = []
    for each in _reading(declaration, place, (place.axis,)):
        if each.name in later and all(known.name != place.name for known in sites):
            own = InputMatrix(place.weight, reader.activations)
            sites.append(PreActivation(place.name, (own,), place.bias))
        sites.append(each)
    positions = {each.name: position for position, each in enumerate(sites)}
    return replace(
        declaration,
        axes={**declaration.axes, place.axis: size},
        dimensions={
            **declaration.dimensions,
            place.weight: (narrow, columns),
            place.bias: (narrow,),
            **_as_wide(declaration, place, narrow),
        },
        sites=tuple(sites),
        narrow=tuple(sorted((*declaration.narrow, place), key=lambda known: positions[known.name])),
    )


def declared_like(declaration: NetworkAxes, other: NetworkAxes) -> NetworkAxes:
    """A network's declaration with the blocks and narrow layers that another has, at full width.

    Args:
        declaration: of the network.
        other: of what was cut from it.

    Raises:
        ValueError: when one of them cannot stand there.
    """
    sizes = blocks.block_sizes(other)
    if sizes and not blocks.block_sizes(declaration):
        declaration = blocks.declare_blocks(declaration, sizes)
    for place in other.narrow:
        if place not in declaration.narrow:
            declaration = declare_narrow(declaration, place)
    return declaration


def insert(
    arrays: Arrays, declaration: NetworkAxes, place: NarrowPlace
) -> tuple[dict[str, Array], NetworkAxes]:
    """The same network with a narrow layer that passes everything on: P = 1, c = 0.

    Args:
        arrays: the network.
        declaration: its axes.
        place: where it goes.

    Raises:
        ValueError: when it cannot stand there.
    """
    wider = declare_narrow(declaration, place)
    width = wider.axes[place.axis]
    return {
        **arrays,
        place.weight: np.eye(width, dtype=np.float32),
        place.bias: np.zeros(width, np.float32),
    }, wider


def moments_before(moments: Moments, declaration: NetworkAxes, place: NarrowPlace) -> Moments:
    """The moments of what a narrow layer will read: those of its reader's part of the site.

    Args:
        moments: of the site.
        declaration: before the narrow layer is put in.
        place: where it goes.
    """
    parts = declaration.parts(_site(declaration, place.site))
    own = [part.inputs for part in parts if part.reader == place.reader]
    part = slice(own[0].start, own[-1].stop)
    return moments.mapped(lambda sums: Sums(sums.count, sums.total[part], sums.outer[part, part]))


def without_narrow(declaration: NetworkAxes, place: NarrowPlace) -> NetworkAxes:
    """The declaration without a narrow layer: its reader reads what it read.

    Args:
        declaration: with it.
        place: one of `declaration.narrow`.
    """
    own = _site(declaration, place.name).readers[0]
    dimensions = {
        name: each
        for name, each in declaration.dimensions.items()
        if name not in (place.weight, place.bias)
    }
    columns = declaration.dimensions[place.weight][1]
    return replace(
        declaration,
        axes={axis: size for axis, size in declaration.axes.items() if axis != place.axis},
        dimensions=dimensions | _as_wide(declaration, place, columns),
        sites=tuple(
            site
            for site in _reading(declaration, place, own.activations)
            if site.name != place.name
        ),
        narrow=tuple(each for each in declaration.narrow if each != place),
    )


def fold(
    arrays: Arrays, declaration: NetworkAxes, place: NarrowPlace
) -> tuple[dict[str, Array], NetworkAxes]:
    """The same network without a narrow layer, whose matrix is multiplied into its readers'.

    Args:
        arrays: the network.
        declaration: its axes.
        place: one of `declaration.narrow`.
    """
    plain = {
        name: array for name, array in arrays.items() if name not in (place.weight, place.bias)
    }
    for name, position in place.readers:
        site = _site(declaration, name)
        matrix, bias = site.readers[position].parameter, str(site.bias)
        weight = arrays[matrix].astype(np.float64)
        plain[matrix] = (weight @ arrays[place.weight]).astype(np.float32)
        plain[bias] = (plain[bias] + weight @ arrays[place.bias]).astype(np.float32)
    return plain, without_narrow(declaration, place)


def pays(
    declaration: NetworkAxes,
    place: NarrowPlace,
    cost: Callable[[NetworkAxes], float] = mult_adds,
) -> bool:
    """Whether a network costs less with a narrow layer than with it multiplied out.

    Args:
        declaration: of the network.
        place: one of `declaration.narrow`.
        cost: of a network of some sizes.
    """
    return cost(declaration) < cost(without_narrow(declaration, place))


def reader_of(declaration: NetworkAxes, place: NarrowPlace) -> InputMatrix:
    """The matrix before which a narrow layer stands, or may stand.

    Args:
        declaration: of the network.
        place: of the layer.
    """
    return _site(declaration, place.site).readers[place.reader]


def felt_by(declaration: NetworkAxes, site: PreActivation) -> int:
    """Through how many sites a site is felt: 1, or behind narrow layers as many as read them.

    Args:
        declaration: of the network.
        site: one of its.
    """
    readers = _readers(declaration, site)
    return sum(felt_by(declaration, reading) for reading, _ in readers) if readers else 1


def final_site(declaration: NetworkAxes, site: PreActivation) -> PreActivation:
    """The site through which a site is felt: itself, or behind narrow layers what reads them first.

    Args:
        declaration: of the network.
        site: one of its.
    """
    places = {place.name: place for place in declaration.narrow}
    while site.name in places:
        site = _site(declaration, places[site.name].site)
    return site


def above(
    site: PreActivation, arrays: Arrays, declaration: NetworkAxes
) -> NDArray[np.float64] | None:
    """The matrix (rows of the last readers, K) through which a narrow layer is felt.

    Args:
        site: of the layer.
        arrays: the network.
        declaration: its axes.

    Returns:
        Of several narrow layers in a row the product, of several readers one behind the other; None
        where the site is no narrow layer's.
    """
    found = []
    for reading, reader in _readers(declaration, site):
        matrix = arrays[reader.parameter].astype(np.float64)
        higher = above(reading, arrays, declaration)
        found.append(matrix if higher is None else higher @ matrix)
    return np.concatenate(found) if found else None


def sensitivity(
    matrix: NDArray[np.float64],
    site: PreActivation,
    arrays: Arrays,
    declaration: NetworkAxes,
    frequencies: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """A site's matrix, weighted by its effect on the output of the site through which it is felt.

    Args:
        matrix: some columns (out, D) of a reader of the site.
        site: a narrow layer's acts through the matrix that reads it. The rows of a decoder with a
            bottleneck, or in blocks, are weighted by the frequencies of their tokens.
        arrays: the network.
        declaration: its axes.
        frequencies: of the tokens (V,); None: all alike.

    Returns:
        (rows of the last matrix, D), those of several one behind the other; the matrix itself of a
        site that no narrow layer is.
    """
    narrowed = any(place.site == blocks.DECODER for place in declaration.narrow)
    reading = above(site, arrays, declaration)
    matrix = matrix if reading is None else reading @ matrix
    site = final_site(declaration, site)
    if frequencies is None:
        return matrix
    rows = blocks.rows_of(site.name, arrays, declaration)
    if rows is None and not (site.name == blocks.DECODER and narrowed):
        return matrix
    own = frequencies if rows is None else frequencies[rows]
    return matrix * np.sqrt(own + 1)[:, None]


def _site(declaration: NetworkAxes, name: str) -> PreActivation:
    return next(site for site in declaration.sites if site.name == name)


def _readers(
    declaration: NetworkAxes, site: PreActivation
) -> list[tuple[PreActivation, InputMatrix]]:
    """The readers of a narrow layer with their sites; none of any other site."""
    place = next((place for place in declaration.narrow if place.name == site.name), None)
    if place is None:
        return []
    sites = ((_site(declaration, name), position) for name, position in place.readers)
    return [(reading, reading.readers[position]) for reading, position in sites]


def _reading(
    declaration: NetworkAxes, place: NarrowPlace, activations: tuple[str, ...]
) -> tuple[PreActivation, ...]:
    """The sites, where the readers at a place read some activations."""
    reading = {name for name, _ in place.readers}
    return tuple(
        replace(
            site,
            readers=tuple(
                replace(reader, activations=activations)
                if (site.name, position) in place.readers
                else reader
                for position, reader in enumerate(site.readers)
            ),
        )
        if site.name in reading
        else site
        for site in declaration.sites
    )


def _as_wide(
    declaration: NetworkAxes, place: NarrowPlace, columns: Dimension
) -> dict[str, tuple[Dimension, ...]]:
    """The matrices of the readers at a place, with other columns."""
    matrices = (_site(declaration, name).readers[position] for name, position in place.readers)
    return {
        reader.parameter: (declaration.dimensions[reader.parameter][0], columns)
        for reader in matrices
    }


def _follows(one: NarrowPlace, other: NarrowPlace) -> bool:
    """Whether one stands before a later matrix of the same site than the other."""
    return one.site == other.site and one.reader > other.reader
