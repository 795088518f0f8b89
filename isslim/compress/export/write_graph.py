"""Writes a graph as one ONNX file, and refuses early a model that would not fit into one.

Each kind defines how its networks become graphs (`kinds/language/export`,
`kinds/questions/export.py`).
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from isslim.compress.errors import TooLargeToExport
from isslim.compress.export.drawing import GraphBlueprint
from isslim.compress.export.streaming import write

MAX_BYTES = 2**31 - 2**20
"""A protobuf message ends at 2 GiB, and a bundle holds no external data; the rest is room for the
structure."""


def write_graph(drawing: GraphBlueprint, path: Path) -> None:
    """Writes a graph as one ONNX file, weights in float32.

    Args:
        drawing: the graph and the source of its weights.
        path: the file to write; an existing one is replaced only when the new one is complete.

    Ensures:
        The additional memory is that of one tensor.
    """
    # A reader of `path` never sees a partial file, and a writer that dies leaves the old one.
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            write(file, drawing.structure, drawing.weights)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_size(network: nn.Module) -> None:
    """Refuses early a model that could not be written in the end.

    Raises:
        TooLargeToExport: when the weights pass 2 GiB, which is what one ONNX file can hold.
    """
    # Sizes in float32, whatever the type of the parameters in memory.
    size_bytes = 4 * sum(parameter.numel() for parameter in network.parameters())
    if size_bytes > MAX_BYTES:
        raise TooLargeToExport(
            f"the weights take {size_bytes:,} bytes in float32; one ONNX file holds {MAX_BYTES:,}. "
            "Upload a model of fewer parameters: a smaller vocabulary or a tied decoder saves the "
            "most"
        )
