"""Wording that several places share: names of axes, speed-ups, file sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from isslim.types.axis_names import (
    OPERATOR,
    RANK,
    is_channels,
    is_rank,
    is_units,
    layer_of,
    operator_of,
    units_of,
)
from isslim.types.kinds.registry import run_label as describe_run
from isslim.types.manifest import LatencyRecord, Ratio

__all__ = [
    "NOT_EVALUATED", "NOT_STEADY", "QUALITY_UNKNOWN", "RANDOM", "as_fast", "as_fast_as_int8",
    "axis_name", "describe_run",
    "directions_left", "directions_read", "file_size", "is_narrow",
]  # fmt: skip

_LAYER = re.compile(r"([a-z]+)(\d*)")
"""Layers of the language models; graphs and question-answering models name their own."""
_READER = re.compile(r"rank:(?P<layer>[a-z]+\d*)\.(?P<what>input|recurrent)")
_BLOCK = re.compile(r"rank:softmax(\d+)")
_READ, _BOTTLENECK = {"input": "input", "recurrent": "recurrence"}, "bottleneck"
"""Narrow layers: what reads through them."""
_LSTMS: dict[str, tuple[str, dict[str, int]]] = {
    "contextual": ("contextual LSTM", {}),
    "modelling0": ("modelling LSTM 1", {"contextual": 4}),
    "modelling1": ("modelling LSTM 2", {"modelling0": 1}),
    "output": ("output LSTM", {"contextual": 4, "modelling1": 3}),
}
"""Of question-answering models: names, and how often each reads all units of another (of the words'
vectors there is no axis)."""
RANDOM = (
    "random inputs of the declared types and shapes; how the model behaves on real inputs is "
    "unknown"
)

QUALITY_UNKNOWN, NOT_EVALUATED = "Quality was not evaluated", "not evaluated"
"""Where calibration needed all the data that was sent: any figure of quality would be one of inputs
that the small model was fitted to."""


NOT_STEADY = "not steady"
"""In place of a ratio of times whose rounds disagree."""


def as_fast(latency: LatencyRecord) -> str:
    """How many times as fast as the original, with the 95 % interval: `2.95x (2.90 to 3.01)`."""
    return _ratio(latency.over_original)


def as_fast_as_int8(latency: LatencyRecord) -> str:
    """How many times as fast as int8 alone; empty where that was not timed beside it."""
    return "" if latency.against_int8 is None else _ratio(latency.over_int8)


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return NOT_STEADY
    return f"{ratio.median:.2f}x ({ratio.low:.2f} to {ratio.high:.2f})"


def axis_name(axis: str) -> str:
    """An axis in words: `units:lstm0` is LSTM layer 1; a name of any other form is kept."""
    if is_channels(axis):
        return f"channels of {operator_of(axis)}"
    block, reader = _BLOCK.fullmatch(axis), _READER.fullmatch(axis)
    if block is not None:
        return f"softmax block {int(block[1]) + 1}"
    if reader is not None:
        named = _LSTMS.get(reader["layer"])
        layer = axis_name(units_of(reader["layer"])) if named is None else named[0]
        return f"{_READ[reader['what']]} of {layer}"
    if axis.startswith(OPERATOR):
        return axis.removeprefix(RANK)
    layer_match = _LAYER.fullmatch(layer_of(axis)) if is_units(axis) else None
    if layer_match is None:
        return layer_of(axis)
    kind, number = layer_match.groups()
    return f"{kind.upper()} layer {int(number) + 1}" if number else f"{kind.upper()} layer"


def is_narrow(axis: str) -> bool:
    """Whether an axis counts the directions that a narrow layer passes on to what reads it."""
    return is_rank(axis) or axis == _BOTTLENECK


def directions_read(axis: str, sizes: Mapping[str, int]) -> int | None:
    """Of how many directions a narrow layer passes some on: the width of what it reads.

    Args:
        axis: of the narrow layer's own width.
        sizes: of the axes of the whole model, in the order of the data.

    Returns:
        None where that width is no axis, as of an embedding that is tied to the softmax, or of the
        words of a question-answering model, and where names do not tell, as in an ONNX graph.
    """
    reader, layers = _READER.fullmatch(axis), [name for name in sizes if is_units(name)]
    if reader is None:
        softmax = axis == _BOTTLENECK or _BLOCK.fullmatch(axis)
        return sizes[layers[-1]] if softmax and layers else None
    if reader["layer"] in _LSTMS:
        times = _LSTMS[reader["layer"]][1].items()
        units = (
            often * size
            for lstm, often in times
            for name, size in sizes.items()
            if name.startswith(units_of(f"{lstm}."))
        )
        return sum(units) or None
    own = units_of(reader["layer"])
    if reader["what"] == "recurrent" or own not in layers:
        return sizes.get(own)
    place = layers.index(own)
    return sizes[layers[place - 1]] if place else sizes.get("embedding")


def directions_left(
    before: Mapping[str, int], after: Mapping[str, int]
) -> dict[str, tuple[int | None, int]]:
    """What the narrow layers of a smaller model pass on, by their axes.

    Args:
        before: sizes of the original's axes.
        after: of the smaller model's.

    Returns:
        Of how many directions (None: not known), and how many: of a narrow layer that the original
        has not, all that is read counted.
    """
    return {
        axis: (before.get(axis, directions_read(axis, before)), size)
        for axis, size in after.items()
        if is_narrow(axis)
    }


def file_size(size_bytes: int) -> str:
    """A file's size in words: `5.2 MB`, and `13.3 kB` below a tenth of that unit."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"
