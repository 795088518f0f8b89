"""What is learnt from: figures on the scale of the published ones, and what stands in the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.distilling.lessons import Lessons, lessons_of
from isslim.compress.kinds.graphs.quality_metrics import OutputMetric
from isslim.compress.kinds.graphs.recorded import Recorded
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.runtime.graphs.recorded_inputs import GraphSession
from isslim.types.recipe import Recipe
from tests.compress.kinds.graphs.distilling.made import halved, task_of
from tests.compress.onnx.drawing import Builder


def test_a_change_is_that_which_is_published(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    lessons, small = task._lessons, halved(task)
    assert isinstance(lessons, Lessons)
    assert lessons.change(task.original, lessons.held_back) == pytest.approx(0, abs=1e-5)
    runs = [stream.runs[0] for stream in lessons.held_back]
    wanted = [task._uploaded.run(run) for run in runs]
    metric = OutputMetric("output_change", runs, wanted, ["y"], {})
    task.export(small, tmp_path / "small.onnx")
    published = metric.quality(tmp_path / "small.onnx").loss
    scale = (
        np.concatenate([each["y"].ravel() for each in wanted]).var() / lessons.losses.scales["y"]
    )
    change = lessons.change(small, lessons.held_back)
    assert change == pytest.approx(published * np.sqrt(scale), rel=1e-3)


def test_recordings_are_varied_unless_the_recipe_says_otherwise(tmp_path: Path) -> None:
    varied, plain = (task_of(tmp_path, vary_inputs=each)._lessons for each in (True, False))
    assert isinstance(varied, Lessons)
    assert isinstance(plain, Lessons)
    assert varied.examples.kinds["x"].family == "signal"
    assert plain.examples.kinds == {}
    assert plain.counted == f"{plain.recordings} sequences"
    assert replace(plain, recordings=1).counted == "1 sequence"
    streams = replace(plain.examples, carried={"hn": "h0"})
    assert replace(plain, examples=streams, recordings=1).counted == "1 stream of runs"


def decided() -> tuple[GraphNetwork, Builder]:
    """A graph that gives decisions, of a state whose origin is not told."""
    b = Builder()
    x = b.floats("x", (5, 3, 4), ["T", "B", 4])
    state = b.floats("before", (1, 3, 6), [1, "B", 6])
    y, last = b.recurrent("GRU", x, 4, 6, initial=[state])[:2]
    scores = b.node("MatMul", [b.squeeze(y, 1), b.weights(6, 5)])
    b.output(b.node("ArgMax", [scores], axis=2, keepdims=0), "said", ["T", "B"], 7)
    b.output(scores, "scores", ["T", "B", 5])
    b.output(b.node("Mul", [last, b.constant(0.5, np.float32)]), "after", [1, "B", 6])
    return GraphNetwork.from_model(simplified(b.model())), b


def test_decisions_teach_nothing_and_a_state_that_is_not_recognised_is_told(tmp_path: Path) -> None:
    network, b = decided()
    (tmp_path / "graph.onnx").write_bytes(b.model().SerializeToString())
    graph = GraphSession(tmp_path / "graph.onnx")
    runs = [{name: np.roll(array, place) for name, array in b.feeds.items()} for place in range(8)]
    recorded = Recorded(runs[:6], runs[6:], "", "", [str(place) for place in range(6)])
    with pytest.raises(NotTrainable, match="said: whole numbers or truth values"):
        lessons_of(network, graph, recorded, ["said"], Recipe())
    lessons = lessons_of(network, graph, recorded, ["said", "scores"], Recipe())
    assert lessons.names == ["scores"]
    (note,) = lessons.notes
    assert "which output before comes from is not recognised" in note
