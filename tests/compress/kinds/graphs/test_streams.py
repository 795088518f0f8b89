"""Streams: the states of one run are the initial states of the next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isslim.compress.errors import ModeUnavailable, RunsUnusable
from isslim.compress.kinds.graphs.comparing import Outputs, difference
from isslim.compress.kinds.graphs.streams import (
    END,
    RUNS,
    Streams,
    played,
    returned_states,
    run_stream,
    stream_of,
    streams_of,
)
from isslim.compress.kinds.graphs.understanding import understood
from isslim.runtime.graphs.recorded_inputs import GraphSession
from tests.compress.kinds.graphs.models import inputs, stateful_graph

CARRIED = {"hn": "h0", "cn": "c0"}


@pytest.fixture
def graph(tmp_path: Path) -> GraphSession:
    return GraphSession(stateful_graph(tmp_path))


def test_a_stream_in_pieces_is_the_whole_text_in_one_run(graph: GraphSession) -> None:
    runs = inputs(4, states=True)
    found = run_stream(graph, runs, CARRIED)
    whole = {**runs[0], "x": np.concatenate([run["x"] for run in runs], axis=1)}
    expected = graph.run(whole)
    pieces = np.concatenate([each["y"] for each in found], axis=1)
    np.testing.assert_allclose(pieces, expected["y"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[-1]["cn"], expected["cn"], rtol=0, atol=1e-5)
    # Each run by itself is something else.
    alone = graph.run(runs[3])
    assert np.abs(alone["y"] - found[3]["y"]).max() > 1e-3


def test_states_of_the_most_common_shape_make_a_stream(graph: GraphSession) -> None:
    runs = [*inputs(1, 3, states=True), *inputs(5, 2, states=True, seed=1)]
    stream = stream_of(graph, CARRIED, runs)
    assert stream is not None
    assert len(stream.runs) == len(stream.wanted) == RUNS
    assert [stream.runs[index] is runs[1 + index % 5] for index in range(RUNS)] == [True] * RUNS
    assert stream_of(graph, {}, runs) is None
    assert stream_of(graph, CARRIED, []) is None
    assert stream_of(graph, {"y": "h0"}, runs) is None  # it does not fit in again


def test_record_is_the_loss_over_the_stream_and_over_its_end(graph: GraphSession) -> None:
    stream = stream_of(graph, CARRIED, inputs(6, states=True))
    assert stream is not None
    lengths = list[int]()

    def loss(found: list[Outputs], wanted: list[Outputs]) -> float:
        lengths.append(len(found))
        return difference(found, wanted) + len(found)

    record = stream.record(graph, loss)  # type: ignore[arg-type]
    assert record is not None
    assert lengths == [RUNS, END]
    assert (record.runs, record.loss, record.end_loss) == (RUNS, RUNS, END)
    assert stream.record(graph, lambda found, wanted: float("nan")) is None


def test_only_states_with_new_zeros_are_returned(tmp_path: Path, graph: GraphSession) -> None:
    _, network = understood(graph.path)
    ((axis, size),) = network.declaration().axes.items()
    masked = tmp_path / "masked.onnx"
    masked.write_bytes(network.masked_reference({axis: np.arange(size - 5)}).SerializeToString())
    runs = inputs(3, states=True)
    changed = returned_states(GraphSession(masked), graph, runs, ["hn", "cn"])
    assert changed.keys() == {"hn", "cn"}
    assert all(0 < change < 1.5 for change in changed.values())
    assert returned_states(graph, graph, runs, ["hn", "cn"]) == {}


def test_recorded_runs_are_streams_where_their_states_go_on(graph: GraphSession) -> None:
    runs = inputs(6, states=True)
    for place, run in enumerate(runs):
        if place not in (0, 4):  # there another stream begins
            before = graph.run(runs[place - 1])
            run |= {"h0": before["hn"], "c0": before["cn"]}
    for asked in (None, True):
        streams = streams_of(graph, CARRIED, runs, asked)
        assert streams is not None
        assert streams.parts == [runs[:4], runs[4:]]
        assert "as 2 streams" in streams.description
        found = played(graph, streams)
        for one, run in zip(found, runs, strict=True):
            np.testing.assert_allclose(one["y"], graph.run(run)["y"], rtol=0, atol=1e-5)
    assert streams_of(graph, CARRIED, runs, asked=False) is None
    assert streams_of(graph, {}, runs, None) is None
    with pytest.raises(ModeUnavailable, match="no state that the graph's caller passes"):
        streams_of(graph, {}, runs, asked=True)


def test_states_that_do_not_go_on_are_one_stream_if_that_is_asked_for(graph: GraphSession) -> None:
    runs = [*inputs(3, states=True), *inputs(2, 3, states=True)]
    assert streams_of(graph, CARRIED, runs, None) is None
    streams = streams_of(graph, CARRIED, runs, asked=True)
    assert streams is not None
    assert streams.parts == [runs[:3], runs[3:]]  # of other sizes, so another stream
    wrong = Streams([runs], CARRIED)
    with pytest.raises(RunsUnusable, match="on the states that it returned"):
        played(graph, wrong)
