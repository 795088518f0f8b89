"""Wording that several places share: names of axes, speed-ups, file sizes."""

from __future__ import annotations

import re

from isslim.types.axis_names import is_units, layer_of
from isslim.types.kinds.registry import run_label as describe_run
from isslim.types.manifest import LatencyRecord, Ratio

__all__ = [
    "NOT_EVALUATED", "NOT_STEADY", "QUALITY_UNKNOWN", "RANDOM", "as_fast", "as_fast_as_int8",
    "axis_name", "describe_run", "file_size",
]  # fmt: skip

_LAYER = re.compile(r"([a-z]+)(\d*)")
"""Layers of the language models; graphs and question-answering models name their own."""
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
    layer = _LAYER.fullmatch(layer_of(axis)) if is_units(axis) else None
    if layer is None:
        return layer_of(axis)
    kind, number = layer.groups()
    return f"{kind.upper()} layer {int(number) + 1}" if number else f"{kind.upper()} layer"


def file_size(size_bytes: int) -> str:
    """A file's size in words: `5.2 MB`, and `13.3 kB` below a tenth of that unit."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"
