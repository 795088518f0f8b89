"""Runs are joined where the original answers each as it does alone, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isslim.compress.kinds.graphs.distilling.joining import joint_of
from isslim.runtime.graphs.recorded_inputs import GraphSession
from tests.compress.kinds.graphs.models import inputs, layer_graph, stateful_graph


def test_runs_of_one_sequence_are_joined_along_the_batch(tmp_path: Path) -> None:
    graph, runs = GraphSession(layer_graph(tmp_path)), inputs(4, batch=1)
    joint = joint_of(graph, runs, ["y"])
    assert joint is not None
    assert joint.along == {"x": 0}
    together = graph.run(joint.joined(runs))["y"]
    alone = np.concatenate([graph.run(run)["y"] for run in runs])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_run_of_several_sequences_is_taken_apart(tmp_path: Path) -> None:
    (run,) = inputs(1, batch=3)
    joint = joint_of(GraphSession(layer_graph(tmp_path)), [run], ["y"])
    assert joint is not None
    parts = joint.parts(run)
    assert [each["x"].shape for each in parts] == [(1, 9, 6)] * 3
    np.testing.assert_array_equal(joint.joined(parts)["x"], run["x"])


def test_states_are_joined_with_their_inputs(tmp_path: Path) -> None:
    graph = GraphSession(stateful_graph(tmp_path))
    joint = joint_of(graph, inputs(3, states=True), ["y", "hn", "cn"])
    assert joint is not None
    assert joint.along == {"x": 0, "h0": 1, "c0": 1}


@pytest.mark.parametrize(
    ("options", "batch"),
    [({"mixed": True}, 2), ({"fixed": True}, 1)],
    ids=["sequences see each other", "one sequence declared"],
)
def test_runs_that_belong_apart_are_not_joined(
    options: dict[str, bool], batch: int, tmp_path: Path
) -> None:
    graph = GraphSession(layer_graph(tmp_path, **options))
    assert joint_of(graph, inputs(4, batch=batch, steps=20), ["y"]) is None


def test_steps_are_no_batch(tmp_path: Path) -> None:
    # Two recordings of one length and batch: along the steps a state would go on.
    graph = GraphSession(layer_graph(tmp_path))
    joint = joint_of(graph, inputs(2, batch=1), ["y"])
    assert joint is not None
    assert joint.along != {"x": 1}


def test_runs_fit_where_only_their_numbers_of_sequences_differ(tmp_path: Path) -> None:
    joint = joint_of(GraphSession(layer_graph(tmp_path)), inputs(2, batch=1), ["y"])
    assert joint is not None
    (one,), (wide,), (long,) = inputs(1), inputs(1, batch=5), inputs(1, steps=10)
    assert joint.fit(one, wide)
    assert not joint.fit(one, long)
    rated = {**one, "rate": np.array(8)}
    assert joint.fit(rated, {**wide, "rate": np.array(8)})
    assert not joint.fit(rated, {**wide, "rate": np.array(16)})
