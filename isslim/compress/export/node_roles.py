"""What a node is for, read off its name: the one place that makes and reads such names.

A written file keeps nothing of the network but its nodes and their names. The quantizer, which
starts from the file, has to know a decoder from another matrix, and which products must stay in
float32; it knows them by names that the exporters took from here.
"""

from __future__ import annotations

from enum import Enum

from onnx import NodeProto


class NodeRole(Enum):
    """What a node is for; the value is what its name begins with (or holds, see `HIGHWAY`).

    The values are in the files of every bundle that was ever written: they never change.
    """

    FLOAT32 = "float32"
    """Its weights are never quantized."""
    FLATTENING = "flattening"
    """It is there only because a Gemm takes two dimensions."""
    BOTTLENECK = "bottleneck"
    """The product before the decoder."""
    DECODER = "decoder"
    """The product that gives the logits of all entries."""
    HIGHWAY = "highway_layer"
    """A product of a highway layer; the side it lies on comes first in its name."""
    OTHER = ""
    """Everything else."""

    def node_name(self, suffix: str = "", *, prefix: str = "") -> str:
        """A name that `of` reads this role from.

        Args:
            suffix: which of several nodes of the role.
            prefix: what stands before the role; only `HIGHWAY` is recognised behind one.

        Returns:
            The given parts and the role's value, joined by underscores.
        """
        return "_".join(filter(None, (prefix, self.value, suffix)))

    @classmethod
    def of(cls, node: NodeProto) -> NodeRole:
        """The role of a node in a graph that an exporter of this project wrote.

        In graphs of other origin names mean nothing: do not ask there.
        """
        for role in (cls.FLOAT32, cls.FLATTENING, cls.BOTTLENECK, cls.DECODER):
            if node.name.startswith(role.value):
                return role
        return cls.HIGHWAY if cls.HIGHWAY.value in node.name else cls.OTHER
