"""Distillation of a cut graph: it comes nearer to the original, and says why where it cannot."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from isslim.compress import trainable
from isslim.compress.contract import Candidate
from isslim.compress.errors import ModeUnavailable
from isslim.compress.kinds.graphs.distilling import steps
from isslim.compress.kinds.graphs.distilling.distillation import (
    TRAINED_BY,
    filled,
    weights_of,
)
from isslim.compress.kinds.graphs.distilling.lessons import Lessons
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.kinds.registry import UploadedFiles, read_task
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.progress import Progress
from isslim.compress.search.candidates import candidates
from isslim.compress.training.stages import Tuned
from isslim.runtime.graphs.recorded_inputs import GraphSession, write_runs
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.recipe import Budget, Recipe
from isslim.types.report import Report
from tests.compress.kinds.graphs.distilling.made import graph_of, halved, signals, task_of
from tests.tagger import compress

SHORT = 1e-6
"""Minutes that are over at once: a stage goes on for `LEAST_STEPS` all the same."""


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "LEAST_STEPS", 60)
    monkeypatch.setattr(trainable, "MOST_MINUTES", 1.0)  # where a recipe says nothing of them


def distilled(
    task: GraphTask, small: GraphNetwork, folder: Path, count: int | None = None
) -> Tuned[GraphNetwork]:
    """One stage."""
    with pytest.MonkeyPatch.context() as patch:
        if count is not None:
            patch.setattr(steps, "LEAST_STEPS", count)
        return task.finetune(small, SHORT, folder / "tuned", lambda done, message: None, 5.0)


@pytest.mark.parametrize(
    ("carried", "count"), [(False, 150), (True, 100)], ids=["single runs", "a stream"]
)
def test_a_distilled_graph_is_nearer_to_the_original_on_runs_that_it_never_saw(
    count: int, tmp_path: Path, *, carried: bool
) -> None:
    task = task_of(tmp_path, 200, carried=carried)
    small = halved(task)
    before = small.model().SerializeToString()
    tuned = distilled(task, small, tmp_path, count)
    assert small.model().SerializeToString() == before
    assert tuned.is_better
    closed, taught = (task.evaluate(each).loss for each in (small, tuned.network))
    assert taught < 0.8 * closed
    assert tuned.network.declaration() == small.declaration()
    # Its file is what was measured, and passes the check of files.
    task.export(tuned.network, tmp_path / "tuned.onnx")
    assert task.measure(tmp_path / "tuned.onnx")["output_change"] == pytest.approx(taught, rel=1e-3)
    record = task.verify_export(tmp_path / "tuned.onnx", tuned.network, "compressed")
    assert record.error <= record.tolerance
    (line,) = task.training_notes()
    assert line.startswith("distillation brought the change of outputs from ")
    lessons = task._lessons
    assert isinstance(lessons, Lessons)
    assert len(lessons.known) <= len(lessons.held_back)
    changes = [lessons.change(each, lessons.held_back) for each in (small, tuned.network)]
    assert f"from {changes[0]:.1%} to {changes[1]:.1%} on recordings that were held back" in line


def test_minutes_end_with_the_job_unless_the_recipe_names_them(tmp_path: Path) -> None:
    named, left_open = (task_of(tmp_path, minutes=each) for each in (3.0, None))
    assert named.trained_by == math.inf
    assert 0 < left_open.trained_by - time.monotonic() <= 60 * TRAINED_BY


def test_states_returned_by_a_distilled_graph_are_those_of_its_kept_units(tmp_path: Path) -> None:
    task = task_of(tmp_path, carried=True)
    small = halved(task)
    tuned = distilled(task, small, tmp_path, 5)
    task.export(tuned.network, tmp_path / "tuned.onnx")
    graph = GraphSession(tmp_path / "tuned.onnx")
    after = graph.run(task.runs.held_out[0])["after"]
    kept = int(np.count_nonzero(after))
    assert kept == next(iter(small.declaration().axes.values()))
    states = task.states(tmp_path / "tuned.onnx")
    assert states is not None
    assert set(states.returned) == {"after"}


def test_a_budget_of_size_is_distilled_by_default_and_described(tmp_path: Path) -> None:
    task = task_of(tmp_path, minutes=2 / 60)
    (tmp_path / "work").mkdir()
    found: Candidate[object] = next(iter(candidates(task, tmp_path / "work", Progress())))
    assert found.description is not None
    assert "minutes of distillation" in found.description
    assert found.checks[0].error <= found.checks[0].tolerance


def test_nothing_is_trained_with_minutes_0(tmp_path: Path) -> None:
    task = task_of(tmp_path, minutes=0)
    assert task.minutes == 0
    assert task.training_notes() == []
    assert "_lessons" not in vars(task)  # torch is not asked


def obstacle(task: GraphTask) -> str:
    assert task.minutes == 0
    (line,) = task.training_notes()
    assert line in task.notes()
    assert line.startswith("not distilled, the closed form stands: ")
    task.recipe = task.recipe.model_copy(update={"minutes": 1.0})
    with pytest.raises(ModeUnavailable, match="cannot be distilled here: leave `minutes` out"):
        _ = task.minutes
    return line


def test_random_inputs_teach_nothing(tmp_path: Path) -> None:
    recipe = Recipe(budget=Budget(size_ratio=0.5))
    task = read_task(UploadedFiles(model=graph_of(tmp_path)), recipe)
    assert isinstance(task, GraphTask)
    assert "no inputs were sent" in obstacle(task)


def test_one_recording_cannot_be_both_learnt_from_and_held_back(tmp_path: Path) -> None:
    graph_of(tmp_path)
    for file, seed in (("calibration", 0), ("held-out", 1)):
        write_runs(tmp_path / f"{file}.npz", signals(1, seed))
    task = read_task(
        UploadedFiles(
            model=tmp_path / "follower.onnx",
            calibration=tmp_path / "calibration.npz",
            held_out=tmp_path / "held-out.npz",
        ),
        Recipe(budget=Budget(size_ratio=0.5)),
    )
    assert isinstance(task, GraphTask)
    assert "one recorded run is there to learn from" in obstacle(task)


def test_an_operator_that_torch_lacks_is_named(tmp_path: Path) -> None:
    path = graph_of(tmp_path)
    model = onnx.load(path)
    name = model.graph.output[0].name
    last = next(node for node in model.graph.node if name in node.output)
    last.output[:] = ["inner"]
    model.graph.node.append(onnx.helper.make_node("GlobalLpPool", ["inner"], [name]))
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 1
    onnx.save(model, path)
    write_runs(tmp_path / "calibration.npz", signals(20))
    task = read_task(
        UploadedFiles(model=path, calibration=tmp_path / "calibration.npz"),
        Recipe(budget=Budget(size_ratio=0.5)),
    )
    assert isinstance(task, GraphTask)
    assert "GlobalLpPool" in obstacle(task)


def test_held_out_runs_are_not_looked_at(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    lessons = task._lessons
    assert isinstance(lessons, Lessons)
    shown = [
        *(run for passage in lessons.examples.passages for run in passage),
        *(run for stream in (*lessons.known, *lessons.held_back) for run in stream.runs),
    ]
    held_out = {run["x"].tobytes() for run in task.runs.held_out}
    assert not held_out & {run["x"].tobytes() for run in shown}
    training = {p[0]["x"].tobytes() for p in lessons.examples.passages}
    assert not training & {stream.runs[0]["x"].tobytes() for stream in lessons.held_back}
    assert len(lessons.held_back) == 12  # a fifth of 60


def test_all_weights_of_a_network_are_read_and_filled(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    small = halved(task)
    tuned = distilled(task, small, tmp_path).network
    again = filled(small, weights_of(tuned))
    assert again.model().SerializeToString() == tuned.model().SerializeToString()


def test_a_killed_distillation_goes_on_with_the_best_weights_so_far(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    small = halved(task)
    first = distilled(task, small, tmp_path)
    again = distilled(task_of(tmp_path), small, tmp_path)
    assert again.losses == first.losses
    assert again.network.model().SerializeToString() == first.network.model().SerializeToString()
    assert math.exp(first.losses[-1]) < math.exp(first.losses[0])


@pytest.mark.slow
def test_report_and_card_tell_what_distillation_did(tmp_path: Path) -> None:
    path = graph_of(tmp_path)
    write_runs(tmp_path / "recorded.npz", signals(60))
    recipe = Recipe(name="follower", budget=Budget(size_ratio=0.5), minutes=3 / 60)
    made = compress(tmp_path, path, recipe, calibration=tmp_path / "recorded.npz")
    bundle = BundleStore(StoreSettings(home=tmp_path)).open(made)
    assert "minutes of distillation" in str(bundle.manifest.provenance.finetune)
    report = Report.model_validate_json(bundle.path("report.json").read_bytes())
    assert any(line.startswith("distillation brought the change of ") for line in report.notes)
    card = bundle.path("README.md").read_text()
    assert "is measured as that of the variants is, before any distillation; so the chosen" in card
    compressed = bundle.manifest.variant("compressed")
    (chosen,) = [point for point in report.curve if point.chosen]
    assert compressed is not None
    assert compressed.loss < chosen.loss
