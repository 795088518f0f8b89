"""Names of arrays, axes and sites that are the same in every language model."""

from __future__ import annotations

from isslim.compress.pruning import blocks, rotation
from isslim.compress.pruning.axes import NarrowPlace
from isslim.types.axis_names import rank_of_input, rank_of_recurrence

EMBEDDING = "embedding"
"""The axis of the embedding's width, and the activation that is looked up."""
EMBEDDING_WEIGHT = rotation.LOOKED_UP
"""(V, E); in a tied model also the decoder's matrix."""
DECODER = blocks.DECODER
"""The site of the logits."""
DECODER_WEIGHT = "decoder.weight"
"""(V, H), untied."""
DECODER_BIAS = "decoder.bias"
"""(V,)."""


def input_place(cell: str, index: int, *, joint: bool) -> NarrowPlace:
    """The place of the narrow layer before the input matrix of a recurrent layer.

    Args:
        cell: name of the layers in the names of axes.
        index: of the layer, from the bottom.
        joint: whether input and recurrent matrix are one site.
    """
    prefix = f"layers.{index}"
    name = f"{prefix}.narrow_ih"
    site = prefix if joint else f"{prefix}.input"
    axis = rank_of_input(f"{cell}{index}")
    return NarrowPlace(axis, name, f"{name}.weight", f"{name}.bias", site, 0)


def recurrent_place(cell: str, index: int, *, joint: bool) -> NarrowPlace:
    """The place of the narrow layer before the recurrent matrix of a layer.

    Args:
        cell: name of the layers in the names of axes.
        index: of the layer, from the bottom.
        joint: whether input and recurrent matrix are one site.
    """
    prefix = f"layers.{index}"
    name = f"{prefix}.narrow_hh"
    site, reader = (prefix, 1) if joint else (f"{prefix}.recurrent", 0)
    axis = rank_of_recurrence(f"{cell}{index}")
    return NarrowPlace(axis, name, f"{name}.weight", f"{name}.bias", site, reader)
