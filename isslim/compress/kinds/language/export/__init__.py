"""Writes a language model as a scoring graph of `isslim/runtime/contract.py`.

    tokens -> Gather -> recurrent part -> Gemm -> LogSoftmax -+-> GatherElements(targets)
                        ^ state in, out                       |     -> token_log_probs
                                                              '-> GatherND(positions) -> log_probs

The recurrent part is never unrolled over time: native operators for LSTM and GRU, a Scan for
recurrent highway networks and for layers with a narrow recurrence.
"""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path

from isslim.compress.export.drawing import GraphBlueprint
from isslim.compress.export.write_graph import check_size, write_graph
from isslim.compress.kinds.language.export.highway import build_highway
from isslim.compress.kinds.language.export.stacked import Recurrence, build_stacked
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel
from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel


def export(network: LanguageModel, path: Path, *, recurrence: Recurrence = "narrow") -> None:
    """Writes `network` as one ONNX file, weights in float32.

    Args:
        network: the model.
        path: the file to write; replaced when it exists, and only once the new one is whole.
        recurrence: how LSTM and GRU layers are written.

    Raises:
        TooLargeToExport: a `ValueError`; see `isslim.compress.export.write_graph.check_size`.
    """
    check_size(network)
    write_graph(build_graph(network, recurrence), path)


@singledispatch
def build_graph(network: LanguageModel, recurrence: Recurrence = "narrow") -> GraphBlueprint:
    """Builds the graph of a network; each architecture registers a function below.

    Args:
        network: the model.
        recurrence: how LSTM and GRU layers are written.
    """
    raise NotImplementedError(f"there is no exporter for {type(network).__name__}")


build_graph.register(StackedLanguageModel, build_stacked)


@build_graph.register
def _(network: RhnLanguageModel, recurrence: Recurrence = "narrow") -> GraphBlueprint:
    return build_highway(network)
