"""The sizes of a stacked recurrent language model, checked, and read off its arrays.

Legend: V vocabulary, E embedding width, H units of a layer, K width of a narrow layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from isslim.compress.kinds.language.networks.names import (
    EMBEDDING_WEIGHT,
    input_place,
    recurrent_place,
)
from isslim.compress.layers.recurrent import RecurrentLayer
from isslim.compress.pruning.axes import Arrays, NarrowPlace
from isslim.compress.pruning.blocks import place_of, weight_of
from isslim.compress.pruning.narrow import BOTTLENECK


@dataclass(frozen=True)
class StackedSpec:
    """Sizes of a stacked recurrent language model.

    Attributes:
        vocabulary: V.
        embedding: E.
        units: H of each layer, from the bottom.
        tied: whether the decoder's matrix is the embedding's.
        bottleneck: K of the narrow layer before the decoder; None where the decoder reads the last
            layer itself.
        input_ranks: K of the narrow layer before each layer's input matrix; 0: there is none. Empty
            where no layer has one.
        recurrent_ranks: the same of the recurrent matrices.
        blocks: rows of each block of the decoder; empty where it is one matrix.
        block_ranks: K of the narrow layer before each block; 0: it reads the last layer itself.
            Empty where no block has one.

    Raises:
        ValueError: when ranks are not one for each layer or block, the blocks are not of all
            tokens, or a tied model has a bottleneck or blocks, or one has both.
    """

    vocabulary: int
    embedding: int
    units: tuple[int, ...]
    tied: bool = False
    bottleneck: int | None = None
    input_ranks: tuple[int, ...] = ()
    recurrent_ranks: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    block_ranks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self._check_ends()
        for name, number, each in (
            ("input_ranks", len(self.units), "layer"),
            ("recurrent_ranks", len(self.units), "layer"),
            ("block_ranks", len(self.blocks), "block of the softmax"),
        ):
            ranks = getattr(self, name)
            if ranks and (len(ranks) != number or min(ranks) < 0):
                raise ValueError(
                    f"'{name}' is {list(ranks)}: one number for each {each} is expected, {number} "
                    "of them, and 0 where there is no narrow layer"
                )
            if not any(ranks):
                object.__setattr__(self, name, ())

    def _check_ends(self) -> None:
        if self.tied and self.bottleneck is not None:
            raise ValueError(
                "a tied model has no bottleneck: its decoder reads with the embedding, as wide as "
                "the last layer"
            )
        if self.tied and self.blocks:
            raise ValueError(
                "a tied model has no softmax in blocks: its decoder's matrix is the embedding's"
            )
        if self.blocks and self.bottleneck is not None:
            raise ValueError(
                "a model has a bottleneck or a softmax in blocks, not both: blocks have ranks of "
                "their own, 'block_ranks'"
            )
        if self.blocks and (min(self.blocks) < 1 or sum(self.blocks) != self.vocabulary):
            raise ValueError(
                f"'blocks' is {list(self.blocks)}: sizes of at least 1 are expected whose sum is "
                f"the vocabulary, {self.vocabulary}"
            )

    def input_rank(self, layer: int) -> int:
        """K of the narrow layer before a layer's input matrix; 0: there is none."""
        return self.input_ranks[layer] if self.input_ranks else 0

    def recurrent_rank(self, layer: int) -> int:
        """K of the narrow layer before a layer's recurrent matrix; 0: there is none."""
        return self.recurrent_ranks[layer] if self.recurrent_ranks else 0

    def block_rank(self, block: int) -> int:
        """K of the narrow layer before a block of the decoder; 0: there is none."""
        return self.block_ranks[block] if self.block_ranks else 0


SpecType = TypeVar("SpecType", bound=StackedSpec)


def sizes_of(
    arrays: Arrays, kind: type[SpecType], cell: str, layer: type[RecurrentLayer], *, tied: bool
) -> SpecType:
    """The sizes that the arrays of a model have, by their names.

    Args:
        arrays: as `LanguageModel.arrays` gives them.
        kind: of the sizes.
        cell: name of the layers in the names of axes.
        layer: the class of the layers.
        tied: whether `embedding.weight` is also the decoder's matrix.

    Raises:
        ValueError: see `StackedSpec`.
    """

    def width(place: NarrowPlace) -> int:
        return len(arrays[place.weight]) if place.weight in arrays else 0

    layers = range(sum(name.endswith("weight_hh_l0") for name in arrays))
    blocks = range(next(block for block in count() if weight_of(block) not in arrays))
    vocabulary, embedding = arrays[EMBEDDING_WEIGHT].shape
    return kind(
        vocabulary,
        embedding,
        tuple(len(arrays[f"layers.{index}.weight_hh_l0"]) // layer.gates for index in layers),
        tied,
        width(BOTTLENECK) or None,
        tuple(width(input_place(cell, index, joint=layer.joint)) for index in layers),
        tuple(width(recurrent_place(cell, index, joint=layer.joint)) for index in layers),
        tuple(len(arrays[weight_of(block)]) for block in blocks),
        tuple(width(place_of(block)) for block in blocks),
    )
