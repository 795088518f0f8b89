"""Writes a network as an ONNX graph of `isslim/runtime/contract.py`.

A language model becomes a scoring graph:

    tokens -> Gather -> recurrent part -> Gemm -> LogSoftmax -> GatherElements(targets) -> token_log_probs
                         ^ state in, out                  '---> GatherND(places) -> log_probs

The recurrent part is never unrolled over time: native operators for LSTM and GRU, a Scan for recurrent highway
networks. A reading-comprehension network becomes a question graph (`kinds/questions/export.py`). `exporting/` holds the pieces.
"""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path

from torch import nn

from isslim.compress.errors import TooLargeToExport
from isslim.compress.export.streaming import write
from isslim.compress.kinds.language.export.highway import draw_highway
from isslim.compress.kinds.language.export.scoring import Drawing
from isslim.compress.kinds.language.export.stacked import draw_stacked
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel
from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel
from isslim.compress.kinds.questions.export import draw_bidaf
from isslim.compress.kinds.questions.networks.bidaf import Bidaf

LARGEST_BYTES = 2**31 - 2**20
"""A protobuf message ends at 2 GiB, and a bundle holds no external data; the rest is room for the structure."""


def export(network: nn.Module, path: Path) -> None:
    """Writes `network` as one ONNX file, weights in float32.

    Args:
        network: the model.
        path: the file to write; replaced when it exists, and only once the new one is whole.

    Ensures:
        The file keeps to `isslim/runtime/contract.py`; the memory taken beside the network is that of one tensor.

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
