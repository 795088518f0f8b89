"""A decoder in blocks of the vocabulary, each of which may read through a narrow layer of its own.

Frequent words need more directions of the last layer than rare ones do: at the same work a rank for
each block of words by frequency loses less than one rank for all (GroupReduce, Chen et al., NeurIPS
2018). So the rows of the decoder are sorted by how often their tokens occur, and cut into a few
blocks, each one a matrix with a bias and a site of its own:

    logits[order[rows of b]] = W_b h + d_b

Nothing is changed but the order of rows, which `softmax.order` gives back.

The sizes come from closed forms alone. A block of rank K loses, of the logits' energy weighted by
frequency, the eigenvalues after the K-th of C^(1/2) G_b C^(1/2) (reduced-rank regression, Izenman
1975), with C the covariance of the last layer and G_b the block's weighted Gram matrix; each rank
costs its rows and its columns. The ranks of a partition are those that lose least at the asked
work: eigenvalues by what they save, largest first.

Legend: V vocabulary, H units of the last layer, K rank of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from isslim.compress.pruning.axes import (
    Array,
    Arrays,
    InputMatrix,
    NarrowPlace,
    NetworkAxes,
    PreActivation,
    Segment,
    shape,
)
from isslim.types.axis_names import rank_of_block

Matrix = NDArray[np.float64]
DECODER = "decoder"
"""The site of the logits where they are one matrix; `decoder.<b>` is that of a block."""
ORDER = "softmax.order"
"""(V,), the token of each row, blocks one behind the other; indices in float32."""
NEARLY = 0.98
"""Share of the most frequent tokens' frequency that the first of a vocabulary have to have for its
own order to be taken."""
MOST, LEAST_ROWS = 4, 64
"""Blocks at most, and rows of a block at least: a product of fewer is not worth its dispatch."""
WORK = 0.25
"""Of the decoder's multiply-adds, what the choice of blocks looks at."""
RATIO = 4
"""How many times as large as the block before it a block is."""
GAIN, LITTLE = 0.1, 1e-4
"""Shares of the loss and of the energy that one more block has to spare: each is a product of its
own to dispatch. On Penn Treebank a hundredth of the energy is some 6 % of the perplexity."""
STEPS = 60
"""Halvings of the price of a multiply-add."""


def site_of(block: int) -> str:
    """The name of a block's site; blocks count from 0."""
    return f"{DECODER}.{block}"


def weight_of(block: int) -> str:
    """The name of a block's matrix (V_b, H), or (V_b, K) behind a narrow layer."""
    return f"softmax.blocks.{block}.weight"


def bias_of(block: int) -> str:
    """The name of a block's bias (V_b,)."""
    return f"softmax.blocks.{block}.bias"


def place_of(block: int) -> NarrowPlace:
    """The place of a narrow layer before a block."""
    narrow = f"softmax.narrow.{block}"
    return NarrowPlace(
        rank_of_block(block),
        f"{site_of(block)}.narrow",
        f"{narrow}.weight",
        f"{narrow}.bias",
        site_of(block),
        0,
    )


def block_sizes(declaration: NetworkAxes) -> tuple[int, ...]:
    """The rows of each block; empty where the decoder is one matrix, or there is none."""
    if ORDER not in declaration.dimensions:
        return ()
    names = {site.name for site in declaration.sites}
    sizes: list[int] = []
    while site_of(len(sizes)) in names:
        sizes.append(shape(declaration, bias_of(len(sizes)))[0])
    return tuple(sizes)


def plain_decoder(declaration: NetworkAxes) -> PreActivation | None:
    """The decoder's site, where it is one matrix of its own that reads one activation, with a bias.

    A decoder that reads through a bottleneck is none.
    """
    read = {place.site for place in declaration.narrow}
    for site in declaration.sites:
        if site.name == DECODER and site.name not in read and site.bias is not None:
            activations = [reader.activations for reader in site.readers]
            own = all(reader.parameter not in declaration.produced for reader in site.readers)
            return site if own and [len(each) for each in activations] == [1] else None
    return None


def declare_blocks(declaration: NetworkAxes, sizes: Sequence[int]) -> NetworkAxes:
    """The declaration with the decoder in blocks.

    Args:
        declaration: with a decoder for which `plain_decoder` finds a site.
        sizes: rows of each block.

    Raises:
        ValueError: when there is no such decoder, or the sizes do not sum to its rows.
    """
    decoder = plain_decoder(declaration)
    if decoder is None:
        raise ValueError(
            "there is no decoder of one untied matrix with a bias, and without a bottleneck, to "
            "take apart into blocks"
        )
    (reader,) = decoder.readers
    (vocabulary,), top = declaration.dimensions[reader.parameter]
    if sum(sizes) != vocabulary.size or min(sizes, default=0) < 1:
        raise ValueError(
            f"blocks of {list(sizes)} rows do not make up a decoder of {vocabulary.size}"
        )
    dimensions = {
        name: each
        for name, each in declaration.dimensions.items()
        if name not in (reader.parameter, decoder.bias)
    }
    sites: list[PreActivation] = []
    for block, size in enumerate(sizes):
        rows = (Segment(None, size),)
        dimensions |= {weight_of(block): (rows, top), bias_of(block): (rows,)}
        own = InputMatrix(weight_of(block), reader.activations)
        sites.append(PreActivation(site_of(block), (own,), bias_of(block)))
    dimensions[ORDER] = ((vocabulary,),)
    place = declaration.sites.index(decoder)
    return replace(
        declaration,
        dimensions=dimensions,
        sites=(*declaration.sites[:place], *sites, *declaration.sites[place + 1 :]),
        indices=declaration.indices | {ORDER},
    )


def split(
    arrays: Arrays, declaration: NetworkAxes, order: NDArray[np.int64], sizes: Sequence[int]
) -> tuple[dict[str, Array], NetworkAxes]:
    """The same network with its decoder in blocks.

    Args:
        arrays: the network.
        declaration: its axes.
        order: every token once (V,), in the order of the rows.
        sizes: rows of each block.

    Raises:
        ValueError: when the decoder cannot be taken apart, the order is none, or the sizes do not
            sum to V.
    """
    apart = declare_blocks(declaration, sizes)
    if not np.array_equal(np.sort(order), np.arange(sum(sizes))):
        raise ValueError(f"the order has to hold each of {sum(sizes)} tokens once")
    (decoder,) = (site for site in declaration.sites if site.name == DECODER)
    matrix, bias = decoder.readers[0].parameter, str(decoder.bias)
    rest = {name: array for name, array in arrays.items() if name not in (matrix, bias)}
    ends = np.cumsum([0, *sizes])
    for block, (start, end) in enumerate(pairwise(ends.tolist())):
        rows = order[start:end]
        rest |= {weight_of(block): arrays[matrix][rows], bias_of(block): arrays[bias][rows]}
    return rest | {ORDER: order.astype(np.float32)}, apart


def merge(
    arrays: Arrays, declaration: NetworkAxes, decoder: PreActivation
) -> tuple[dict[str, Array], NetworkAxes]:
    """The inverse of `split`.

    Args:
        arrays: the network.
        declaration: its axes, with a decoder in blocks none of which reads through a narrow layer.
        decoder: its site before it was taken apart, which names matrix and bias.

    Raises:
        ValueError: when there are no blocks, or one reads through a narrow layer.
    """
    together = without_blocks(declaration, decoder)
    count = len(block_sizes(declaration))
    gone = {*map(weight_of, range(count)), *map(bias_of, range(count)), ORDER}
    rest = {name: array for name, array in arrays.items() if name not in gone}
    order = arrays[ORDER].astype(np.int64)
    for name, of in ((decoder.readers[0].parameter, weight_of), (str(decoder.bias), bias_of)):
        rows = np.concatenate([arrays[of(block)] for block in range(count)])
        rest[name] = np.empty_like(rows)
        rest[name][order] = rows
    return rest, together


def without_blocks(declaration: NetworkAxes, decoder: PreActivation) -> NetworkAxes:
    """The declaration with its blocks in one matrix again; see `merge`.

    Args:
        declaration: with blocks.
        decoder: the site of the matrix.

    Raises:
        ValueError: as `merge`.
    """
    count = len(block_sizes(declaration))
    names = [site_of(block) for block in range(count)]
    narrow = [place.name for place in declaration.narrow if place.site in names]
    if not count or narrow:
        raise ValueError(
            "there are no blocks to merge" if not count else f"narrow layers {narrow} stand there"
        )
    top = declaration.dimensions[weight_of(0)][1]
    (first,) = (site for site in declaration.sites if site.name == names[0])
    gone = {*map(weight_of, range(count)), *map(bias_of, range(count)), ORDER}
    dimensions = {name: each for name, each in declaration.dimensions.items() if name not in gone}
    (vocabulary,) = declaration.dimensions[ORDER]
    dimensions |= {
        decoder.readers[0].parameter: (vocabulary, top),
        str(decoder.bias): (vocabulary,),
    }
    reader = replace(decoder.readers[0], activations=first.readers[0].activations)
    sites = [
        replace(decoder, readers=(reader,)) if site is first else site
        for site in declaration.sites
        if site is first or site.name not in names
    ]
    return replace(
        declaration,
        dimensions=dimensions,
        sites=tuple(sites),
        indices=declaration.indices - {ORDER},
    )


def rows_of(name: str, arrays: Arrays, declaration: NetworkAxes) -> NDArray[np.int64] | None:
    """The token of each row of a block.

    Args:
        name: of a site.
        arrays: the network.
        declaration: its axes.

    Returns:
        (V_b,); None where the site is no block.
    """
    sizes = block_sizes(declaration)
    names = [site_of(block) for block in range(len(sizes))]
    if name not in names:
        return None
    block = names.index(name)
    start = sum(sizes[:block])
    return arrays[ORDER][start : start + sizes[block]].astype(np.int64)


def by_frequency(frequencies: Matrix) -> NDArray[np.int64]:
    """The tokens (V,) by falling frequency; those that are as frequent in their own order.

    All in their own order where the first so many of that are nearly as frequent, as in most
    vocabularies: a graph then needs no table of rows.
    """
    falling = np.argsort(-frequencies, kind="stable")
    if len(falling) < LEAST_ROWS:
        return falling
    own, best = (np.cumsum(each)[LEAST_ROWS - 1 :] for each in (frequencies, frequencies[falling]))
    return np.arange(len(falling)) if (own >= NEARLY * best).all() else falling


def chosen_sizes(weight: Array, covariance: Matrix, frequencies: Matrix) -> tuple[int, ...]:
    """The rows of each block with which a decoder loses least at `WORK` of its multiply-adds.

    Partitions of one to `MOST` blocks are tried, each `RATIO` times as large as the one before, of
    words by falling frequency. One more block has to lose less by `GAIN` and `LITTLE`.

    Args:
        weight: the decoder's matrix (V, H).
        covariance: C (H, H) of the last layer over the calibration text.
        frequencies: of the tokens (V,).
    """
    order = by_frequency(frequencies)
    rows = weight[order].astype(np.float64) * np.sqrt(frequencies[order] + 1)[:, None]
    values, vectors = np.linalg.eigh(covariance)
    seen = rows @ (vectors * np.sqrt(values.clip(min=0.0)))  # W_b C^(1/2), rows in order
    energy = float(np.square(seen).sum())
    best: tuple[int, ...] = (len(rows),)
    least = float("inf")
    for count in range(1, MOST + 1):
        sizes = _geometric(len(rows), count)
        if count > 1 and min(sizes) < max(LEAST_ROWS, len(values) // RATIO):
            break
        lost = _lost(seen, sizes)
        if lost < (1 - GAIN) * least and lost < least - LITTLE * energy:
            best, least = sizes, lost
    return best


def _geometric(total: int, count: int) -> tuple[int, ...]:
    """Sizes that grow by `RATIO` and sum to a total."""
    ends = [0]
    for block in range(1, count + 1):
        ends.append(round(total * (RATIO**block - 1) / (RATIO**count - 1)))
    return tuple(end - start for start, end in pairwise(ends))


def _lost(seen: Matrix, sizes: Sequence[int]) -> float:
    """The energy that blocks lose at `WORK` of the multiply-adds, with the ranks that lose least.

    Args:
        seen: rows of blocks one behind the other (V, H), whose squares are energies.
        sizes: rows of each block.
    """
    choices = []
    start, width = 0, seen.shape[1]
    for size in sizes:
        part = seen[start : start + size]
        spectrum = np.linalg.eigvalsh(part.T @ part)[::-1].clip(min=0.0)
        rest = np.append(spectrum[::-1].cumsum()[::-1], 0.0)  # of each rank from 0
        # As narrow as it may be it costs no more than without a narrow layer.
        work = np.minimum(np.arange(width + 1) * (size + width), size * width)
        choices.append((rest, work.astype(np.float64)))
        start += size
    low, high = 0.0, max(float(rest[0]) for rest, _ in choices)  # energy for a multiply-add
    for _ in range(STEPS):
        price = (low + high) / 2
        at = [int(np.argmin(rest + price * work)) for rest, work in choices]
        spent = sum(float(work[rank]) for (_, work), rank in zip(choices, at, strict=True))
        low, high = (price, high) if spent > WORK * len(seen) * width else (low, price)
    at = [int(np.argmin(rest + high * work)) for rest, work in choices]
    return sum(float(rest[rank]) for (rest, _), rank in zip(choices, at, strict=True))
