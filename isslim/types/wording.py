"""Words for people that several places say alike: what one timed run is, and what an axis is called."""

from __future__ import annotations

import re

from isslim.types.manifest import LatencyRecord, Task

_LAYER = re.compile(r"units:([a-z]+)(\d*)")
"""Axes of the language models; graphs and readers have names of their own."""
RANDOM = "random inputs, drawn to the declared types and shapes: what the model does on real ones was never looked at"

NOTHING_JUDGED, NOT_JUDGED = "NOTHING WAS JUDGED", "not judged"
"""Where everything that was sent had to be observed: what is known of the quality is known of
inputs that were fitted."""


def describe_run(task: Task, steps: int, batch: int, run: str | None = None) -> str:
    """What was timed, such as `one text of 30 tokens`.

    Args:
        task: of the model.
        steps: tokens of each text or context.
        batch: texts or questions side by side.
        run: of a graph: which run, and the shapes of its inputs; None: not told.
    """
    tokens = "1 token" if steps == 1 else f"{steps} tokens"
    if task == "graph":
        return run or "one run"
    if task == "question-answering":
        return f"one question on {tokens}" if batch == 1 else f"{batch} questions on {tokens} each"
    return f"one text of {tokens}" if batch == 1 else f"{batch} texts of {tokens} each"


def as_fast(latency: LatencyRecord) -> str:
    """A speed-up with its interval, such as `2.95x (2.90 to 3.01)`; none where it was not measured steadily."""
    if not latency.steady:
        return "not steady"
    return f"{latency.speedup:.2f}x ({latency.speedup_low:.2f} to {latency.speedup_high:.2f})"


def axis_name(axis: str) -> str:
    """An axis for people: `units:lstm0` is LSTM layer 1; a layer that has a name of its own keeps it."""
    layer = _LAYER.fullmatch(axis)
    if layer is None:
        return axis.removeprefix("units:")
    kind, number = layer.groups()
    return f"{kind.upper()} layer {int(number) + 1}" if number else f"{kind.upper()} layer"


def file_size(size_bytes: int) -> str:
    """A file's size in words: `5.2 MB`, and `13.3 kB` below a tenth of that unit."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"
