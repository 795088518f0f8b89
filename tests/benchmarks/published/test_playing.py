"""Graphs that are run window by window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper

from benchmarks.published.playing import answers, streamed
from isslim.runtime.graphs.recorded_inputs import GraphSession
from tests.benchmarks.published.packages import FLOAT, graph

STATES = {"state": ("sum", (1,))}


def adding(folder: Path) -> GraphSession:
    """Returns the sum of all that it was given."""
    return graph(
        folder / "adding.onnx",
        [helper.make_node("Add", ["x", "state"], ["sum"])],
        {"x": (FLOAT, [1]), "state": (FLOAT, [1])},
        {"sum": [1]},
    )


def window(number: float, target: int) -> dict[str, np.ndarray]:
    return {"x": np.array([number], np.float32), "target:sum": np.array([target])}


def test_a_stream_begins_at_zero_and_carries_its_states(tmp_path: Path) -> None:
    ran = streamed(STATES, adding(tmp_path), [window(1, 0), window(2, 1), window(4, 1)])
    assert [float(outputs["sum"][0]) for _, outputs in ran] == [1, 3, 7]
    assert [float(given["state"][0]) for given, _ in ran] == [0, 1, 3]
    assert [int(given["target:sum"][0]) for given, _ in ran] == [0, 1, 1]


def test_answers_are_outputs_with_their_targets_by_stream(tmp_path: Path) -> None:
    streams = [[window(1, 5), window(2, 6)], [window(3, 7)]]
    found = answers(STATES, adding(tmp_path), streams, "sum")
    assert [[(float(one[0]), int(other[0])) for one, other in each] for each in found] == [
        [(1, 5), (3, 6)],
        [(3, 7)],
    ]
