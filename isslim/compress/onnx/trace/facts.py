"""What is known of a graph's axes when inference is done: nothing in it changes any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from isslim.compress.onnx.model.layouts import Layout
from isslim.compress.onnx.model.split_model import SplitModel
from isslim.compress.onnx.trace.edits import Edit, Product, Use
from isslim.compress.onnx.trace.graph_view import GraphView
from isslim.compress.onnx.trace.pool import Axes
from isslim.compress.onnx.trace.types import Entry, Layer

_MAX_ENTRIES = 64
"""A shape has no more numbers; longer constants are something else."""


@dataclass(frozen=True)
class AxisFacts:
    """The axes of a graph and everything that they index.

    Attributes:
        graph: the graph in normal form.
        pool: its axes: which may shrink, and why others may not.
        edits: what must change beside constants when axes shrink.
        uses: constants that axes index.
        products: constant matrices that read activations.
        layers: recurrent nodes whose weights are constants.
        layouts: per value whose axes were followed.
        shapes: entries of values that are shapes.
    """

    graph: GraphView
    pool: Axes
    edits: tuple[Edit, ...]
    uses: tuple[Use, ...]
    products: tuple[Product, ...]
    layers: tuple[Layer, ...]
    layouts: Mapping[str, Layout]
    shapes: Mapping[str, tuple[Entry, ...]]

    @property
    def parts(self) -> SplitModel:
        """The model in normal form."""
        return self.graph.parts

    @property
    def consumers(self) -> Mapping[str, Sequence[NodeProto]]:
        """Per value the nodes that read it, once for each time."""
        return self.graph.consumers

    @property
    def readers(self) -> Mapping[str, int]:
        """How often each value is read, as a graph's output included; 0 for values that are not."""
        return self.graph.readers

    def layout(self, name: str) -> Layout | None:
        """A value's layout; None when not even its rank is known."""
        return self.layouts.get(name) or self.graph.default(name)

    def entries(self, name: str) -> tuple[Entry, ...] | None:
        """The numbers of a shape, if it could be followed."""
        found = constant_entries(self.graph.value(name))
        return self.shapes.get(name) if found is None else found


def constant_entries(value: np.ndarray | None) -> tuple[Entry, ...] | None:
    """The numbers of a constant shape.

    Returns:
        None for what is no shape: not whole numbers, too many of them, or in several dimensions.
    """
    if value is None or value.dtype.kind != "i" or value.ndim > 1 or value.size > _MAX_ENTRIES:
        return None
    return tuple(Entry(int(each)) for each in value.reshape(-1))
