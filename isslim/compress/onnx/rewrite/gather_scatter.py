"""Nodes that rearrange the entries of one dimension, with zeros for entries without a source.

https://onnx.ai/onnx/operators/onnx__Pad.html, onnx__Gather.html, onnx__Split.html
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from isslim.compress.onnx.model.split_model import SplitModel


@dataclass(frozen=True)
class Placement:
    """The new order of the entries of a dimension.

    Attributes:
        sources: per new entry the old one, or -1 for zero.
        length: number of old entries.
    """

    sources: NDArray[np.int64]
    length: int


@dataclass(frozen=True)
class Rearrangement:
    """A rearrangement of one dimension of a tensor.

    Attributes:
        along: the dimension that is rearranged.
        by: with several placements, the dimension for each index of which there is one.
        rank: number of dimensions.
        placements: see `by`.
    """

    along: int
    by: int
    rank: int
    placements: tuple[Placement, ...]


def gather_scatter(
    parts: SplitModel, source: str, made: str, change: Rearrangement
) -> list[NodeProto]:
    """Nodes that rearrange a tensor; the constants that they read are added to the model.

    Args:
        parts: the model.
        source: the tensor that is read.
        made: the name of the result, after which constants and intermediate values are named.
        change: the rearrangement.
    """
    if len(change.placements) == 1:
        return _placed(parts, source, made, change, change.placements[0])
    # No operator applies different indices for each index of another dimension as cheaply.
    count = len(change.placements)
    pieces = [f"{made}.from_{index}" for index in range(count)]
    ends = [f"{made}.to_{index}" for index in range(count)]
    steps = [_split(parts, source, made, pieces, change.by)]
    for piece, end, placement in zip(pieces, ends, change.placements, strict=True):
        steps += _placed(parts, piece, end, change, placement)
    return [*steps, helper.make_node("Concat", ends, [made], axis=change.by)]


def _split(parts: SplitModel, source: str, made: str, pieces: list[str], by: int) -> NodeProto:
    """A Split into single entries; before version 13 their sizes are an attribute."""
    sizes = [1] * len(pieces)
    if parts.opset < 13:
        return helper.make_node("Split", [source], pieces, axis=by, split=sizes)
    parts.constants[f"{made}.split"] = np.array(sizes, np.int64)
    return helper.make_node("Split", [source, f"{made}.split"], pieces, axis=by)


def _placed(
    parts: SplitModel, source: str, made: str, change: Rearrangement, placement: Placement
) -> list[NodeProto]:
    """Gather, after a Pad that adds a zero if one is needed."""
    steps = []
    index = placement.sources
    if (index < 0).any():
        # One zero after the last entry serves all new entries without a source.
        padded = f"{made}.padded"
        steps.append(_padded(parts, source, made, change))
        source, index = padded, np.where(index < 0, placement.length, index)
    # Gather requires integers of 32 or 64 bits.
    parts.constants[f"{made}.order"] = index.astype(np.int64)
    order = [source, f"{made}.order"]
    return [*steps, helper.make_node("Gather", order, [made], axis=change.along)]


def _padded(parts: SplitModel, source: str, made: str, change: Rearrangement) -> NodeProto:
    """A Pad by one zero at the end; before version 11 the margins are an attribute."""
    margin = [0] * (2 * change.rank)  # all beginnings, then all ends
    margin[change.rank + change.along] = 1
    if parts.opset < 11:
        return helper.make_node("Pad", [source], [f"{made}.padded"], pads=margin)
    parts.constants[f"{made}.margin"] = np.array(margin, np.int64)
    return helper.make_node("Pad", [source, f"{made}.margin"], [f"{made}.padded"])
