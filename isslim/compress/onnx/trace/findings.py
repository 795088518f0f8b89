"""What rules find while a graph is walked, in the order in which they find it."""

from __future__ import annotations

from dataclasses import dataclass, field

from isslim.compress.onnx.model.layouts import Blocks, Layout
from isslim.compress.onnx.trace.edits import Edit, Product, Use
from isslim.compress.onnx.trace.types import Entry, Layer


@dataclass
class Findings:
    """The notes of a walk.

    Attributes:
        layouts: per value.
        shapes: entries of values that are shapes.
        edits: what must change.
        uses: constants that axes index.
        products: matrices that read activations.
        layers: recurrent nodes.
        summed: dimensions over which activations are summed, by no matrix or by a stack of them.
    """

    layouts: dict[str, Layout] = field(default_factory=dict)
    shapes: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    summed: list[Blocks] = field(default_factory=list)

    def mark(self) -> tuple[int, int, int, int]:
        """How much there is of what one rule may add, for `rollback`.

        Layers are not counted: their rule is never applied twice.
        """
        return len(self.edits), len(self.uses), len(self.products), len(self.summed)

    def rollback(self, mark: tuple[int, int, int, int]) -> None:
        """Forgets what was added since."""
        edits, uses, products, summed = mark
        del self.edits[edits:]
        del self.uses[uses:]
        del self.products[products:]
        del self.summed[summed:]
