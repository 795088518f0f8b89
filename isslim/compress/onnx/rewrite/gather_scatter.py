"""Nodes that take entries of one dimension in a new order, with zeros where there is nothing to take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from isslim.compress.onnx.model.split_model import SplitModel


@dataclass(frozen=True)
class Placement:
    """Which entry of a dimension stands where.

    Attributes:
        sources: per new entry the old one, or -1 for zero.
        length: number of old entries.
    """

    sources: NDArray[np.int64]
    length: int


def gather_scatter(
    parts: SplitModel,
    source: str,
    made: str,
    along: int,
    by: int,
    rank: int,
    placements: tuple[Placement, ...],
) -> list[NodeProto]:
    """Nodes that make `made` of `source`; the constants they read are added to `parts`.

    Args:
        parts: the model.
        source: the tensor that is read.
        made: the name of the new one.
        along: the dimension that is rearranged.
        by: with several placements, the dimension whose indices each have one.
        rank: number of dimensions.
        placements: see `by`.
    """
    if len(placements) == 1:
        return _placed(parts, source, made, along, rank, placements[0])
    steps = []
    pieces = [f"{made}.from_{index}" for index in range(len(placements))]
    ends = [f"{made}.to_{index}" for index in range(len(placements))]
    if parts.opset < 13:
        steps.append(helper.make_node("Split", [source], pieces, axis=by, split=[1] * len(pieces)))
    else:
        parts.constants[f"{made}.split"] = np.ones(len(pieces), np.int64)
        steps.append(helper.make_node("Split", [source, f"{made}.split"], pieces, axis=by))
    for piece, end, placement in zip(pieces, ends, placements, strict=True):
        steps += _placed(parts, piece, end, along, rank, placement)
    return [*steps, helper.make_node("Concat", ends, [made], axis=by)]


def _placed(
    parts: SplitModel, source: str, made: str, along: int, rank: int, placement: Placement
) -> list[NodeProto]:
    """Gather, behind a Pad that adds the zero if one is needed."""
    steps = []
    index = placement.sources
    if (index < 0).any():
        margin = [0] * (2 * rank)
        margin[rank + along] = 1
        padded = f"{made}.padded"
        if parts.opset < 11:
            steps.append(helper.make_node("Pad", [source], [padded], pads=margin))
        else:
            parts.constants[f"{made}.margin"] = np.array(margin, np.int64)
            steps.append(helper.make_node("Pad", [source, f"{made}.margin"], [padded]))
        source, index = padded, np.where(index < 0, placement.length, index)
    parts.constants[f"{made}.order"] = index.astype(np.int64)
    return [*steps, helper.make_node("Gather", [source, f"{made}.order"], [made], axis=along)]
