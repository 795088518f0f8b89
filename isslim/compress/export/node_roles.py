"""The role of a node, encoded in its name: the one place that writes and parses such names.

A written file preserves only the nodes of the network and their names. The quantizer, which
starts from the file, has to know a decoder from another matrix, and which products must stay in
float32; it knows them by names that the exporters took from here.
"""

from __future__ import annotations

from enum import Enum

from onnx import NodeProto


class NodeRole(Enum):
    """The role of a node; the value is the prefix of its name (or a part of it, see `HIGHWAY`).

    The values are in the files of all existing bundles: they must never change.
    """

    FLOAT32 = "float32"
    """Its weights are never quantized."""
    FLATTENING = "flattening"
    """It is there only because a Gemm takes two dimensions."""
    BOTTLENECK = "bottleneck"
    """The product before the decoder, or before a block of it."""
    DECODER = "decoder"
    """The product that gives the logits of all entries, or of a block of them."""
    RECURRENT = "recurrent"
    """A recurrent layer that is no operator of ONNX, a Scan, and its products: `input_...` before
    the Scan, `narrow_...` and `gates_...` in its body. Also the product of a narrow layer before
    the input of any recurrent layer, `input_narrow_...`."""
    HIGHWAY = "highway_layer"
    """A product of a highway layer; the side it lies on comes first in its name."""
    OTHER = ""
    """Everything else."""

    def node_name(self, suffix: str = "", *, prefix: str = "") -> str:
        """A name from which `of` reads this role.

        Args:
            suffix: which of several nodes of the role.
            prefix: text before the role; only `HIGHWAY` is recognised after one.

        Returns:
            The given parts and the role's value, joined by underscores.
        """
        return "_".join(filter(None, (prefix, self.value, suffix)))

    @classmethod
    def of(cls, node: NodeProto) -> NodeRole:
        """The role of a node in a graph that an exporter of this project wrote.

        Do not use it for graphs of other origin, where names have no meaning.
        """
        for role in (cls.FLOAT32, cls.FLATTENING, cls.BOTTLENECK, cls.DECODER, cls.RECURRENT):
            if node.name.startswith(role.value):
                return role
        return cls.HIGHWAY if cls.HIGHWAY.value in node.name else cls.OTHER
