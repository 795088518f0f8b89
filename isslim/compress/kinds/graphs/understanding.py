"""From an ONNX file to a network with named axes, within limits on memory and time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from isslim.compress.errors import BadWeights, GraphNotUnderstood
from isslim.compress.ingest.limits import memory_for, time_for
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import read_graph
from isslim.compress.onnx.normalise.preparing import PreparedGraph, prepare
from isslim.runtime.graphs.recorded_inputs import GraphInterface
from isslim.types.inspection import LayerRecord

Read = TypeVar("Read")
READING_BYTES, READING_TIMES, READING_SECONDS = 1 << 30, 8, 300.0
"""Limits of reading a graph: memory in bytes plus a multiple of its file's size, and time."""


def graph_file(path: Path, data: Path | None) -> PreparedGraph:
    """Prepares an uploaded graph as one file in float32, within the limits on memory and time.

    Args:
        path: the uploaded file.
        data: the file of its external tensors, if one was sent.

    Raises:
        CompressError: see `isslim.compress.onnx.normalise.preparing.prepare`; also when it takes
            more memory or time than its size explains.
    """
    return _limited(
        lambda: prepare(path, data), path.stat().st_size + (data.stat().st_size if data else 0)
    )


def understood(path: Path) -> tuple[int, GraphNetwork]:
    """The opset of a file and the network in it, within the limits.

    Raises:
        GraphNotUnderstood: when it takes more memory or time, or cannot be understood.
    """

    def read() -> tuple[int, GraphNetwork]:
        model = read_graph(path)
        return model.opset_import[0].version, GraphNetwork.from_model(model)

    return _limited(read, path.stat().st_size)


def refuse_ports(graph: GraphInterface) -> None:
    """Refuses a graph whose outputs cannot be compared, on one input and another.

    Raises:
        GraphNotUnderstood: when it has no input, or an output that is no tensor.
    """
    if not graph.inputs:
        raise GraphNotUnderstood(
            "the graph has no inputs, so that every run of it gives the same outputs: export the "
            "model with what its caller passes to it as inputs, and not as constants"
        )
    strange = [name for name, (kind, _) in graph.outputs.items() if not kind.startswith("tensor(")]
    if strange:
        raise GraphNotUnderstood(
            f"outputs other than tensors cannot be compared: {', '.join(strange)}. Export the "
            "model with the tensors that they are made of as outputs: for scikit-learn's "
            "classifiers `options={'zipmap': False}`"
        )


def refuse_not_finite(network: GraphNetwork) -> None:
    """Refuses weights that are NaN or infinite; ONNX Runtime may answer with numbers all the same.

    Raises:
        BadWeights: naming them.
    """
    bad = [
        f"`{name}` has {count:,} values that are NaN or infinite"
        for name, array in network.arrays().items()
        if (count := int((~np.isfinite(array)).sum()))
    ]
    if bad:
        raise BadWeights(
            f"some of the graph's weights are NaN or infinite ({'; '.join(bad[:3])}"
            f"{'; ...' if bad[3:] else ''}): the training diverged, or the file was damaged. "
            "Export the model again, from a state whose weights are numbers",
            bad,
        )


def layers_of(network: GraphNetwork) -> list[LayerRecord]:
    """Every group of recurrent units, then all groups of channels that may shrink.

    Both in the order of the graph.
    """
    channels = [each for each in network.channels() if not each.reasons]
    return [
        LayerRecord(name=each.name, size=each.size, may_shrink=not each.reasons)
        for each in (*network.report(), *channels)
    ]


def _limited(read: Callable[[], Read], size: int) -> Read:
    """The result of `read` on files of `size` bytes, within the limits.

    Raises:
        GraphNotUnderstood: when it takes more memory or time.
    """
    try:
        with memory_for(READING_BYTES + READING_TIMES * size), time_for(READING_SECONDS):
            return read()
    except UnicodeDecodeError as error:
        raise GraphNotUnderstood(f"a name in the graph is no text in UTF-8: {error}") from error
    except (MemoryError, TimeoutError) as limit:
        what = (
            "more memory than its size explains"
            if isinstance(limit, MemoryError)
            else f"over {READING_SECONDS:g} seconds"
        )
        raise GraphNotUnderstood(
            f"to read this graph of {size:,} bytes takes {what}: export it without what is "
            "computed at run time, or with "
            "fewer nodes"
        ) from limit
