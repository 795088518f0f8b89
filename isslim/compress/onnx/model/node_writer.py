"""Writes the nodes that replace others, with new names and in the form of the graph's opset."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from isslim.compress.onnx.model.split_model import Constant, SplitModel


@dataclass
class NodeWriter:
    """Nodes in the order in which they run.

    Attributes:
        parts: the model, which gets the constants.
        prefix: of the names of what is made, such as a name that only one value has.
        nodes: written so far.
    """

    parts: SplitModel
    prefix: str
    nodes: list[NodeProto] = field(default_factory=list)

    def add(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        """One more node.

        Args:
            operator: of one output.
            inputs: what it reads.
            attributes: of the node.

        Returns:
            The name of what it makes.
        """
        made = self.parts.fresh(f"{self.prefix}.{len(self.nodes)}")
        self.nodes.append(helper.make_node(operator, inputs, [made], name=made, **attributes))
        return made

    def with_axes(self, operator: str, value: str, axes: list[int]) -> str:
        """A Squeeze or Unsqueeze, whose axes are an attribute before opset 13, then an input.

        Args:
            operator: one of the two.
            value: what it reads.
            axes: the dimensions.
        """
        if self.parts.opset < 13:
            return self.add(operator, [value], axes=axes)
        return self.add(operator, [value, self.constant(f"{value}.axes", np.array(axes, np.int64))])

    def constant(self, wish: str, value: Constant) -> str:
        """A new constant.

        Args:
            wish: its name, if no other value has it.
            value: its numbers.

        Returns:
            Its name.
        """
        name = self.parts.fresh(wish)
        self.parts.constants[name] = value
        return name
