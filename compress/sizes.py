"""Sizes and counts of a language model, read off its declaration alone (conventions: `networks/contract.py`)."""

from __future__ import annotations

from compress import axes
from compress.axes import Declaration
from store.manifest import LayerRecord, SizeBreakdown

EMBEDDING = "embedding.weight"


def embedding_width(declaration: Declaration) -> int:
    """Columns of the embedding."""
    return axes.shape(declaration, EMBEDDING)[1]


def layer_units(declaration: Declaration) -> list[int]:
    """Units of each recurrent axis, in the order of the declaration."""
    return [size for axis, size in declaration.axes.items() if axis.startswith("units:")]


def is_tied(declaration: Declaration) -> bool:
    """Whether the decoder reads with the embedding's matrix."""
    return EMBEDDING in declaration.produced


def breakdown(declaration: Declaration) -> SizeBreakdown:
    """Parameters and multiply-adds of embedding, recurrent layers and softmax; a tied matrix counts as embedding."""
    rows, columns = axes.shape(declaration, EMBEDDING)
    decoder = declaration.sites[-1]
    matrices = {reader.parameter for reader in decoder.readers}
    work = sum(_entries(declaration, name) for name in matrices)
    softmax = sum(_entries(declaration, name) for name in {*matrices, str(decoder.bias)} - {EMBEDDING})
    return SizeBreakdown(
        embedding_parameters=rows * columns,
        recurrent_parameters=axes.parameters(declaration) - rows * columns - softmax,
        softmax_parameters=softmax,
        recurrent_mult_adds=axes.mult_adds(declaration) - work,
        softmax_mult_adds=work,
    )


def recurrent_layers(declaration: Declaration) -> list[LayerRecord]:
    """Each recurrent layer: the arrays whose outputs (their first dimension) are its units."""
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
                LayerRecord(
                    axis=axis,
                    units=size,
                    parameters=sum(_entries(declaration, name) for name in own),
                    mult_adds=sum(_entries(declaration, name) for name in matrices),
                )
            )
    return records


def _entries(declaration: Declaration, name: str) -> int:
    result = 1
    for length in axes.shape(declaration, name):
        result *= length
    return result
