"""What a graph itself says before its axes are known: constants, readers, inferred shapes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from onnx import NodeProto

from isslim.compress.onnx.model.layouts import Layout
from isslim.compress.onnx.model.shapes import inferred_shapes
from isslim.compress.onnx.model.split_model import SplitModel, given, graphs, nodes


@dataclass(frozen=True)
class GraphView:
    """A graph in normal form, read only.

    Attributes:
        parts: the model.
        markers: outputs of Identity nodes behind which states are of full size.
        readers: how often each value is read, as a graph's output included.
        consumers: the nodes that read it, once for each time.
        inferred: per value the layout without axes that ONNX's shape inference gives.
    """

    parts: SplitModel
    markers: frozenset[str]
    readers: Counter[str]
    consumers: Mapping[str, Sequence[NodeProto]]
    inferred: Mapping[str, Layout]

    @classmethod
    def of(cls, parts: SplitModel, markers: frozenset[str]) -> Self:
        """Reads a model; it stays as it is.

        Args:
            parts: the model.
            markers: see the attribute.
        """
        readers: Counter[str] = Counter()
        consumers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in nodes(parts.structure.graph):
            for name in filter(None, node.input):
                readers[name] += 1
                consumers[name].append(node)
        # Whoever calls the graph, or the node that a nested graph belongs to, reads its outputs.
        for graph in graphs(parts.structure.graph):
            readers.update(port.name for port in graph.output)
        return cls(parts, markers, readers, dict(consumers), inferred_shapes(parts))

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return self.parts.opset

    def is_constant(self, name: str) -> bool:
        """Whether a value is a constant."""
        return name in self.parts.constants

    def value(self, name: str) -> np.ndarray | None:
        """A constant's value, or None."""
        return self.parts.constants.get(name)

    def integers(self, node: NodeProto, index: int) -> list[int] | None:
        """A constant input as whole numbers in order.

        Args:
            node: the reader.
            index: of its input.

        Returns:
            None when the input is left out or not constant.
        """
        value = self.value(given(node, index))
        return None if value is None else [int(each) for each in value.reshape(-1)]

    def default(self, name: str) -> Layout | None:
        """A value's layout by itself, without axes; None when not even its rank is known."""
        value = self.value(name)
        if value is not None:
            return Layout(tuple(value.shape))
        return self.inferred.get(name)
