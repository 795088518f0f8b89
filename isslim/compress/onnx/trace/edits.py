"""What of a graph changes when axes shrink, beside the constants that they index.

An edit names its node by the node's first output and says in blocks what must hold;
`rewrite.rewrite_shapes` turns it into sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from onnx import NodeProto

from isslim.compress.onnx.model.layouts import Blocks
from isslim.compress.onnx.model.windows import Window


def key(node: NodeProto) -> str:
    """What a node is found by: names of values are unique in the whole model."""
    return str(next(filter(None, node.output)))


@dataclass(frozen=True)
class Select:
    """An input stays as large as it is: of one dimension only what blocks keep is let through.

    Attributes:
        node: the reader.
        index: of its input.
        along: dimension of that input.
        options: the blocks; several: one for each index of dimension `by`.
        by: see `options`.
        rank: of the input.
    """

    node: str
    index: int
    along: int
    options: tuple[Blocks, ...]
    by: int
    rank: int


@dataclass(frozen=True)
class Restore:
    """A marker (an Identity) gives the caller a state of full size, zeros at removed units.

    Attributes:
        node: the marker.
        along: dimension of the units.
        options: the blocks; several: one for each index of dimension `by`.
        by: see `options`.
        rank: of the state.
    """

    node: str
    along: int
    options: tuple[Blocks, ...]
    by: int
    rank: int


@dataclass(frozen=True)
class Target:
    """A shape that is given as an input (of Reshape or Expand) has new sizes at some positions.

    Attributes:
        node: the reader.
        index: of the shape among its inputs.
        sizes: per position its blocks.
    """

    node: str
    index: int
    sizes: tuple[tuple[int, Blocks], ...]


@dataclass(frozen=True)
class Bounds:
    """A Slice cuts at the boundaries of blocks.

    Attributes:
        node: the Slice.
        entries: per entry of its axes that cuts a dimension with an axis: the blocks before, and
            those within.
    """

    node: str
    entries: tuple[tuple[int, Blocks, Blocks], ...]


@dataclass(frozen=True)
class Shares:
    """A Split gives each output its blocks."""

    node: str
    outputs: tuple[Blocks, ...]


@dataclass(frozen=True)
class Channels:
    """A convolution of each unit by itself has as many groups as there are units."""

    node: str
    blocks: Blocks


Edit = Select | Restore | Target | Bounds | Shares | Channels


@dataclass(frozen=True)
class Use:
    """A constant as an operand whose dimensions have axes.

    Attributes:
        node: the reader.
        index: of its input.
        name: the constant.
        dims: per dimension its blocks, or None where nothing changes it.
        rest: what stands at removed components: 0, or 1 in a divisor, which must not vanish.
    """

    node: str
    index: int
    name: str
    dims: tuple[Blocks | None, ...]
    rest: float = 0.0


@dataclass(frozen=True)
class Product:
    """A constant matrix that reads an activation.

    Attributes:
        node: MatMul, Gemm or Conv.
        index: of the matrix among its inputs.
        matrix: name of the constant.
        reads: dimension of the matrix that reads.
        gives: dimension of the matrix that is its output.
        activation: what it reads.
        features: dimension of the activation that is read.
        blocks: of that dimension.
        bias: name of a constant that is added to the result, one number for each output, and
            nothing else.
        scale: what the bias is multiplied with to be in the matrix's terms (Gemm's beta / alpha).
        window: of a Conv whose kernel is a matrix for each of several places.
    """

    node: str
    index: int
    matrix: str
    reads: int
    gives: int
    activation: str
    features: int
    blocks: Blocks
    bias: str | None = None
    scale: float = 1.0
    window: Window | None = None


def divided(edit: Edit, divide: Callable[[Blocks], Blocks]) -> Edit:
    """The edit with its blocks divided where their axes turned out to be several.

    Args:
        edit: as it was noted.
        divide: gives the blocks of today for those of then.
    """
    # Only axes of matrices are divided, which lie beside units in any of these.
    if isinstance(edit, Select | Restore):
        return replace(edit, options=tuple(map(divide, edit.options)))
    if isinstance(edit, Target):
        sizes = [(position, divide(blocks)) for position, blocks in edit.sizes]
        return replace(edit, sizes=tuple(sizes))
    if isinstance(edit, Bounds):
        entries = [
            (entry, divide(before), divide(within)) for entry, before, within in edit.entries
        ]
        return replace(edit, entries=tuple(entries))
    if isinstance(edit, Channels):
        return replace(edit, blocks=divide(edit.blocks))
    return replace(edit, outputs=tuple(map(divide, edit.outputs)))
