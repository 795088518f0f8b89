"""Recordings as passages: runs whose states continue, and runs by themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isslim.compress.kinds.graphs.distilling import passages
from isslim.compress.kinds.graphs.distilling.joining import joint_of
from isslim.compress.kinds.graphs.distilling.passages import passages_of
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays
from tests.compress.kinds.graphs.models import inputs, layer_graph, stateful_graph

CARRIED = {"hn": "h0", "cn": "c0"}


def recorded(graph: GraphSession, count: int, seed: int) -> list[NamedArrays]:
    """A stream as its caller runs it."""
    runs, states = [], {}
    for run in inputs(count, seed=seed, states=True):
        runs.append({**run, **states})
        made = graph.run(runs[-1])
        states = {given: made[name] for name, given in CARRIED.items()}
    return runs


def test_a_run_that_begins_with_the_states_of_the_one_before_continues_it(tmp_path: Path) -> None:
    graph = GraphSession(stateful_graph(tmp_path))
    streams = [recorded(graph, 3, 0), recorded(graph, 5, 1), recorded(graph, 1, 2)]
    runs = [run for stream in streams for run in stream]
    found = passages_of(graph, runs, CARRIED, None, None)
    assert [len(each) for each in found] == [3, 5, 1]
    assert found[1][0] is streams[1][0]


@pytest.mark.parametrize(
    ("asked", "lengths"), [(None, [4, 2, 2]), (True, [6, 2]), (False, [1] * 14)]
)
def test_runs_that_all_begin_anew_are_taken_a_few_at_a_time_in_their_order(
    asked: bool | None, lengths: list[int], tmp_path: Path
) -> None:
    graph = GraphSession(stateful_graph(tmp_path))
    runs = [*inputs(6, states=True), *inputs(2, batch=1, states=True)]
    joint = joint_of(graph, runs, ["y", *CARRIED])
    found = passages_of(graph, runs, CARRIED, joint, asked)
    assert [len(each) for each in found] == lengths


def test_a_long_recording_is_several_passages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passages, "MOST_RUNS", 4)
    graph = GraphSession(stateful_graph(tmp_path))
    runs = recorded(graph, 10, 0)
    found = passages_of(graph, runs, CARRIED, None, None)
    assert [len(each) for each in found] == [4, 4, 2]
    # The second one begins with the states that were recorded there.
    assert np.abs(found[1][0]["h0"]).max() > 0


def test_without_states_every_sequence_is_a_passage_of_its_own(tmp_path: Path) -> None:
    graph = GraphSession(layer_graph(tmp_path))
    runs = [*inputs(2, batch=3), *inputs(1, batch=1, seed=5)]
    joint = joint_of(graph, runs, ["y"])
    assert [len(each) for each in passages_of(graph, runs, {}, joint, None)] == [1] * 7
    assert [len(each) for each in passages_of(graph, runs, {}, None, None)] == [1] * 3
