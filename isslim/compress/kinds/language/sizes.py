"""Parameters and multiply-adds of a language model by part, from its declaration alone.

The names that this relies on are those of `isslim.compress.kinds.language.networks.names`.
"""

from __future__ import annotations

import math

from isslim.compress.kinds.language.networks.names import DECODER, EMBEDDING_WEIGHT
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import NetworkAxes
from isslim.types.axis_names import is_rank
from isslim.types.manifest import PartRecord
from isslim.types.wording import axis_name


def is_tied(declaration: NetworkAxes) -> bool:
    """Whether the decoder's matrix is the embedding's."""
    return EMBEDDING_WEIGHT in declaration.produced


def parts(declaration: NetworkAxes) -> list[PartRecord]:
    """Embedding, each recurrent layer, bottleneck, softmax; a tied matrix counts as embedding.

    Narrow layers count to the layer that they stand before, those of the blocks of a softmax to the
    softmax. The embedding is a look-up: no multiply-adds (the paper's count, section 4.1).
    """
    rows, columns = axes.shape(declaration, EMBEDDING_WEIGHT)
    decoders = {
        site.name
        for site in declaration.sites
        if site.name == DECODER or site.name.startswith(f"{DECODER}.")
    }
    sites = [site for site in declaration.sites if site.name in decoders]
    matrices = {reader.parameter for site in sites for reader in site.readers}
    softmax = {*matrices, *(str(site.bias) for site in sites)} - {EMBEDDING_WEIGHT}
    return [
        PartRecord(name="embedding", width=columns, parameters=rows * columns, mult_adds=0),
        *recurrent_layers(declaration),
        PartRecord(
            name="softmax",
            width=rows,
            parameters=sum(_entries(declaration, name) for name in softmax),
            mult_adds=sum(_entries(declaration, name) for name in matrices),
        ),
    ]


def recurrent_layers(declaration: NetworkAxes) -> list[PartRecord]:
    """Each recurrent layer, and the bottleneck.

    A layer has the arrays whose first dimension, that of outputs, is its units, and the narrow
    layers that they read.
    """
    sites = {site.name: site for site in declaration.sites}
    every = {reader.parameter for site in declaration.sites for reader in site.readers}
    records = []
    for axis, size in declaration.axes.items():
        own = {
            name
            for name, dimensions in declaration.dimensions.items()
            if any(segment.axis == axis for segment in dimensions[0])
        }
        for place in declaration.narrow:
            if sites[place.site].readers[place.reader].parameter in own:
                own |= {place.weight, place.bias}
        if own and not is_rank(axis):
            records.append(
                PartRecord(
                    name=axis_name(axis),
                    axis=axis,
                    width=size,
                    parameters=sum(_entries(declaration, name) for name in own),
                    mult_adds=sum(_entries(declaration, name) for name in own & every),
                )
            )
    return records


def _entries(declaration: NetworkAxes, name: str) -> int:
    return math.prod(axes.shape(declaration, name))
