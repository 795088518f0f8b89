"""The groups of a network in training: component k of an axis is all slices at its index k.

The torch side of `isslim.compress.pruning.axes`, read off the same declaration, with the paper's
one exception: biases are in no group (Wen et al., arXiv 1709.05027, and its code). An entry that
two components share - the gates of one unit reading another - counts in both, as it does there.

Legend: H components of an axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isslim.compress.pruning.axes import NetworkAxes
from isslim.types.axis_names import is_units


@dataclass(frozen=True)
class ParameterBlock:
    """A run of a dimension that an axis indexes: `repeat` times H entries from `start`."""

    parameter: str
    position: int
    start: int
    repeat: int


class Groups:
    """The groups of some axes.

    Args:
        declaration: the network's.
        axes: whose components are grouped.

    Attributes:
        sizes: H per axis.
        blocks: per axis, where its components lie.
    """

    def __init__(self, declaration: NetworkAxes, axes: Sequence[str]) -> None:
        self.sizes = {axis: declaration.axes[axis] for axis in axes}
        self.blocks: dict[str, list[ParameterBlock]] = {axis: [] for axis in axes}
        for name, dimensions in declaration.dimensions.items():
            if len(dimensions) < 2:
                continue  # a bias
            for position, dimension in enumerate(dimensions):
                start = 0
                for segment in dimension:
                    if segment.axis in self.blocks:
                        self.blocks[segment.axis].append(
                            ParameterBlock(name, position, start, segment.repeat)
                        )
                    start += segment.size * segment.repeat

    @property
    def parameters(self) -> set[str]:
        """Names of all parameters that hold a component."""
        return {block.parameter for blocks in self.blocks.values() for block in blocks}

    def squares(self, parameters: Mapping[str, Tensor], axis: str) -> Tensor:
        """Sum of squares over each component's slices (H,), differentiable.

        Args:
            parameters: by name.
            axis: whose components.
        """
        size = self.sizes[axis]
        total = next(iter(parameters.values())).new_zeros(size)
        for block in self.blocks[axis]:
            parameter = parameters[block.parameter]
            others = [
                dimension for dimension in range(parameter.ndim) if dimension != block.position
            ]
            along = parameter.square().sum(dim=others)[
                block.start : block.start + block.repeat * size
            ]
            total = total + along.view(block.repeat, size).sum(dim=0)
        return total

    @torch.no_grad()
    def scale(self, parameters: Mapping[str, Tensor], axis: str, factors: Tensor) -> None:
        """Multiplies components' slices by their factors, in place; shared entries by both factors.

        Args:
            parameters: by name.
            axis: whose components.
            factors: (H,).
        """
        for block in self.blocks[axis]:
            parameter = parameters[block.parameter]
            part = parameter.narrow(block.position, block.start, block.repeat * self.sizes[axis])
            shape = [1] * parameter.ndim
            shape[block.position] = -1
            part.mul_(factors.repeat(block.repeat).view(shape))

    @torch.no_grad()
    def alive(self, parameters: Mapping[str, Tensor], axis: str) -> Tensor:
        """Which components (H,) have an entry that is not exactly zero.

        Args:
            parameters: by name.
            axis: whose components.
        """
        # Not by the norm: the square of a tiny weight is zero.
        nonzero = {
            block.parameter: (parameters[block.parameter] != 0).float()
            for block in self.blocks[axis]
        }
        return self.squares(nonzero, axis) > 0

    def keep(self, alive: Mapping[str, Tensor], least: int) -> dict[str, NDArray[np.int64]] | None:
        """The components that stay, ascending; None when all do.

        Args:
            alive: per axis, which components are (H,).
            least: how many of every axis stay in any case.
        """
        kept = {}
        for axis, living in alive.items():
            index = living.nonzero().flatten().cpu().numpy()
            if len(index) < least:
                dead = np.setdiff1d(np.arange(self.sizes[axis]), index)
                index = np.sort(np.concatenate([index, dead[: least - len(index)]]))
            if len(index) < self.sizes[axis]:
                kept[axis] = index
        return kept or None


def prunable(declaration: NetworkAxes, *, embedding: bool) -> list[str]:
    """The axes that a learner works on: the recurrent units, and all others if asked.

    Args:
        declaration: of the network.
        embedding: whether the embedding's width and the ranks of narrow layers are among them.
    """
    return [axis for axis in declaration.axes if embedding or is_units(axis)]
