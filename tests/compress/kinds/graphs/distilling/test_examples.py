"""Examples: passages with the original's answers; what is not answered soundly is dropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isslim.compress.kinds.graphs.distilling import examples as module
from isslim.compress.kinds.graphs.distilling.examples import Examples, divide
from isslim.compress.kinds.graphs.distilling.input_kinds import InputKind
from isslim.compress.kinds.graphs.distilling.joining import Joint
from isslim.compress.kinds.graphs.streams import run_stream
from isslim.runtime.graphs.recorded_inputs import GraphSession
from tests.compress.kinds.graphs.models import inputs, layer_graph, stateful_graph

SIGNAL = InputKind("signal", True, -4.0, 4.0, 1.0, steps=1)


def examples(folder: Path, kind: InputKind | None = SIGNAL, **options: bool) -> Examples:
    graph = GraphSession(layer_graph(folder, **options))
    passages = [[run] for run in inputs(10, batch=1)]
    return Examples(graph, passages, {"x": kind} if kind else {}, {}, ["y"], Joint({"x": 0}))


def test_the_last_fifth_of_the_passages_is_held_back() -> None:
    passages = [[run] for run in inputs(10)]
    found = divide(passages)
    assert found is not None
    assert found.training == passages[:8]
    assert found.held_back == passages[8:]
    two = divide(passages[:2])
    assert two is not None
    assert (len(two.training), len(two.held_back)) == (1, 1)


def test_of_one_passage_the_end_is_held_back_and_of_one_run_nothing() -> None:
    runs = inputs(10)
    found = divide([runs])
    assert found is not None
    assert (found.training, found.held_back) == ([runs[:8]], [runs[8:]])
    assert divide([runs[:1]]) is None
    assert divide([]) is None


def test_examples_are_joined_recordings_with_what_the_original_answers(tmp_path: Path) -> None:
    made = examples(tmp_path, None)
    stream = made.draw(np.random.default_rng(0))
    (run,), (wanted,) = stream.runs, stream.wanted
    assert run["x"].shape == (128, 9, 6)
    recorded = {passage[0]["x"].tobytes() for passage in made.passages}
    assert {row[None].tobytes() for row in run["x"]} <= recorded
    np.testing.assert_array_equal(wanted["y"], made.graph.run(run)["y"])


def test_variations_are_answered_by_the_original(tmp_path: Path) -> None:
    made = examples(tmp_path)
    stream = made.draw(np.random.default_rng(1))
    recorded = {passage[0]["x"].tobytes() for passage in made.passages}
    assert not {row[None].tobytes() for row in stream.runs[0]["x"]} <= recorded
    np.testing.assert_array_equal(stream.wanted[0]["y"], made.graph.run(stream.runs[0])["y"])


def test_a_variation_that_the_original_answers_with_nan_is_dropped(tmp_path: Path) -> None:
    # It takes the logarithm of x + 10: what is louder than was recorded may be below zero.
    loud = InputKind("signal", False, -1e6, 1e6, 1e5, steps=1)
    made = examples(tmp_path, loud, log=True)
    recorded = {passage[0]["x"].tobytes() for passage in made.passages}
    dropped = 0
    for seed in range(12):
        stream = made.draw(np.random.default_rng(seed))
        assert np.isfinite(stream.wanted[0]["y"]).all()
        dropped += {row[None].tobytes() for row in stream.runs[0]["x"]} <= recorded
    assert dropped > 0


def test_each_run_of_a_passage_begins_with_the_original_s_own_states(tmp_path: Path) -> None:
    graph = GraphSession(stateful_graph(tmp_path))
    carried = {"hn": "h0", "cn": "c0"}
    made = Examples(graph, [inputs(5, states=True)], {"x": SIGNAL}, carried, ["y"], None)
    stream = made.draw(np.random.default_rng(3))
    assert len(stream.runs) == 5
    for one, other in zip(stream.wanted, run_stream(graph, stream.runs, carried), strict=True):
        assert one.keys() == {"y", "hn", "cn"}
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name])
    # Not what each run gives by itself.
    alone = graph.run(stream.runs[1])["y"]
    assert np.abs(stream.wanted[1]["y"] - alone).max() > 1e-4


@pytest.mark.parametrize(
    ("name", "numbers", "joined"),
    [("MOST_NUMBERS", 1, 1), ("MOST_NUMBERS", 54 * 3, 3), ("NUMBERS", 1, 8), ("NUMBERS", 540, 10)],
)
def test_as_many_runs_are_joined_as_hold_enough_numbers_within_bounds(
    name: str, numbers: int, joined: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, numbers)
    stream = examples(tmp_path, None).draw(np.random.default_rng(0))
    assert len(stream.runs[0]["x"]) == joined  # of 54 numbers each
