"""Writes a network as an ONNX graph of `runtime/graph.py`.

A language model becomes a scoring graph:

    tokens -> Gather -> recurrent part -> Gemm -> LogSoftmax -> GatherElements(targets) -> token_log_probs
                         ^ state in, out                  '---> GatherND(places) -> log_probs

The recurrent part is never unrolled over time: native operators for LSTM and GRU, a Scan for recurrent highway
networks. A reading-comprehension network becomes a question graph (`exporting/bidaf.py`). `exporting/` holds the pieces.
"""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path

from torch import nn

from compress.errors import TooLargeToExport
from compress.exporting.bidaf import draw_bidaf
from compress.exporting.highway import draw_highway
from compress.exporting.scoring import Drawing
from compress.exporting.stacked import draw_stacked
from compress.exporting.streaming import write
from compress.networks.bidaf import Bidaf
from compress.networks.rhn import RhnLanguageModel
from compress.networks.stacked import StackedLanguageModel

LARGEST_BYTES = 2**31 - 2**20
"""A protobuf message ends at 2 GiB, and a bundle holds no external data; the rest is room for the structure."""


def export(network: nn.Module, path: Path) -> None:
    """Writes `network` as one ONNX file, weights in float32.

    Args:
        network: the model.
        path: the file to write; replaced when it exists, and only once the new one is whole.

    Ensures:
        The file keeps to `runtime/graph.py`; the memory taken beside the network is that of one tensor.

    Raises:
        TooLargeToExport: a `ValueError`; see `check_size`.
    """
    check_size(network)
    drawing = draw(network)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            write(file, drawing.structure, drawing.weights)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_size(network: nn.Module) -> None:
    """Refuses early what could not be written in the end.

    Raises:
        TooLargeToExport: when the weights pass 2 GiB, which is what one ONNX file can hold.
    """
    size_bytes = 4 * sum(parameter.numel() for parameter in network.parameters())
    if size_bytes > LARGEST_BYTES:
        raise TooLargeToExport(
            f"the weights take {size_bytes:,} bytes in float32; one ONNX file holds {LARGEST_BYTES:,}. "
            "Upload a model of fewer parameters: a smaller vocabulary or a tied decoder saves the most"
        )


@singledispatch
def draw(network: nn.Module) -> Drawing:
    """The graph of a network. One function for each architecture is registered below."""
    raise NotImplementedError(f"there is no exporter for {type(network).__name__}")


draw.register(StackedLanguageModel, draw_stacked)
draw.register(RhnLanguageModel, draw_highway)
draw.register(Bidaf, draw_bidaf)
