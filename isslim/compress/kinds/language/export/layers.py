"""One recurrent layer of a stacked network: its form in a graph, and its arrays for one.

A narrow layer of rank K, P x + c, may stand before either matrix of a layer, A. Its bias c moves
into the bias of the gates, which becomes b + A c; what is left before A is the product with P.

Legend: H units, I inputs of the layer, G gates, K rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from isslim.compress.export.drawing import array
from isslim.compress.export.recurrent import OPERATORS, Operator
from isslim.compress.export.streaming import Floats

INPUT, RECURRENT = "ih", "hh"
"""The two matrices of a layer, as torch calls them."""


@dataclass(frozen=True)
class Layer:
    """The form of one layer in a graph.

    Attributes:
        index: from the bottom.
        cell: `lstm` or `gru`.
        units: H.
        narrow: which of its matrices read a narrow layer.
        is_scan: whether it is written as a Scan, and not as ONNX's operator.
    """

    index: int
    cell: str
    units: int
    narrow: frozenset[str]
    is_scan: bool

    @property
    def operator(self) -> Operator:
        """ONNX's operator of the cell."""
        return OPERATORS[self.cell]

    @property
    def states(self) -> list[str]:
        """Names of the state's inputs in the graph."""
        return [f"{state}_{self.index}" for state in self.operator.states]


@dataclass(frozen=True)
class Side:
    """One matrix of a layer with what belongs to it, in torch's order of the gates.

    Attributes:
        matrix: A, (G H, K), or (G H, I) where nothing is narrow.
        bias: b + A c, or b; (G H,).
        narrow: P, (K, I) or (K, H).
    """

    matrix: Floats
    bias: Floats
    narrow: Floats | None

    def whole(self) -> Floats:
        """The matrix that reads the input itself: A P, (G H, I) or (G H, H)."""
        return self.matrix if self.narrow is None else self.matrix @ self.narrow


def is_narrow(tensors: Mapping[str, Tensor], index: int, side: str) -> bool:
    """Whether a matrix reads a narrow layer.

    Args:
        tensors: of the network, by name.
        index: of the layer.
        side: `INPUT` or `RECURRENT`.
    """
    return _narrow_name(index, side) in tensors


def read_side(tensors: Mapping[str, Tensor], index: int, side: str) -> Side:
    """A matrix of a layer with its narrow layer's bias moved into its own.

    Args:
        tensors: of the network, by name.
        index: of the layer.
        side: `INPUT` or `RECURRENT`.
    """
    matrix = array(tensors[f"layers.{index}.weight_{side}_l0"])
    bias = array(tensors[f"layers.{index}.bias_{side}_l0"])
    if not is_narrow(tensors, index, side):
        return Side(matrix, bias, None)
    name = _narrow_name(index, side)
    constant = array(tensors[name.removesuffix("weight") + "bias"])  # c, (K,)
    return Side(matrix, bias + matrix @ constant, array(tensors[name]))


def _narrow_name(index: int, side: str) -> str:
    return f"layers.{index}.narrow_{side}.weight"
