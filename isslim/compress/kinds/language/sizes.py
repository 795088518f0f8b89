"""Parameters and multiply-adds of a language model by part, from its declaration alone.

The names that this relies on are those of `isslim.compress.kinds.language.networks.names`.
"""

from __future__ import annotations

import math

from isslim.compress.kinds.language.networks.names import DECODER, EMBEDDING_WEIGHT
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import NetworkAxes
from isslim.types.manifest import PartRecord
from isslim.types.wording import axis_name


def is_tied(declaration: NetworkAxes) -> bool:
    """Whether the decoder's matrix is the embedding's."""
    return EMBEDDING_WEIGHT in declaration.produced


def parts(declaration: NetworkAxes) -> list[PartRecord]:
    """Embedding, each recurrent layer, softmax; a tied matrix counts as embedding.

    The embedding is a look-up: no multiply-adds (the paper's count, section 4.1).
    """
    rows, columns = axes.shape(declaration, EMBEDDING_WEIGHT)
    decoder = next(site for site in declaration.sites if site.name == DECODER)
    matrices = {reader.parameter for reader in decoder.readers}
    softmax = {*matrices, str(decoder.bias)} - {EMBEDDING_WEIGHT}
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
    """Each recurrent layer: the arrays whose first dimension, that of outputs, is its units."""
    records = []
    for axis, size in declaration.axes.items():
        own = {
            name
            for name, dimensions in declaration.dimensions.items()
            if any(segment.axis == axis for segment in dimensions[0])
        }
        matrices = {reader.parameter for site in declaration.sites for reader in site.readers} & own
        if own:
            records.append(
                PartRecord(
                    name=axis_name(axis),
                    axis=axis,
                    width=size,
                    parameters=sum(_entries(declaration, name) for name in own),
                    mult_adds=sum(_entries(declaration, name) for name in matrices),
                )
            )
    return records


def _entries(declaration: NetworkAxes, name: str) -> int:
    return math.prod(axes.shape(declaration, name))
