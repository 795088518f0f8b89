"""The training of a stage: what it changes, what it leaves, how it resumes and how it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from isslim.compress.errors import CheckpointRefused
from isslim.compress.kinds.graphs.distilling import steps
from isslim.compress.kinds.graphs.distilling.lessons import Lessons
from isslim.compress.kinds.graphs.distilling.steps import train_stage
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.kinds.registry import UploadedFiles, read_task
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.pruning.axes import select_components
from isslim.compress.training.stages import Stage
from isslim.runtime.graphs.recorded_inputs import write_runs
from isslim.types.recipe import Budget, Recipe
from tests.compress.kinds.graphs.distilling.made import halved, task_of
from tests.tagger import recorded, tagger_graph


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "LEAST_STEPS", 12)
    monkeypatch.setattr(steps, "SHOWN", 1)


def stage(folder: Path, told: list[str] | None = None, number: int = 0) -> Stage:
    def tell(done: float, message: str) -> None:
        if told is not None:
            told.append(message)

    return Stage(number, 1e-6, 5.0, 1.0, 1.0, 0, folder / "stage.checkpoint", tell)


def lessons_of(task: GraphTask) -> Lessons:
    lessons = task._lessons
    assert isinstance(lessons, Lessons)
    return lessons


def constants(network: GraphNetwork) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in network.model().graph.initializer}


def test_weights_change_and_dead_units_and_what_is_fixed_stay(tmp_path: Path) -> None:
    write_runs(tmp_path / "recorded.npz", recorded(30))
    task = read_task(
        UploadedFiles(
            model=tagger_graph(tmp_path, both=True), calibration=tmp_path / "recorded.npz"
        ),
        Recipe(budget=Budget(size_ratio=0.5), minutes=1.0),
    )
    assert isinstance(task, GraphTask)
    declaration = task.original.declaration()
    keep = {
        axis: np.arange(size - 4 * place)
        for place, (axis, size) in enumerate(declaration.axes.items())
    }
    arrays, _ = select_components(task.original.arrays(), declaration, keep)
    small = task.original.rebuilt(arrays)
    free, before = small.free_weights(), constants(small)
    assert any(not mask.all() for mask in free.values())
    table = next(name for name, value in before.items() if value.shape == (40, 12))
    told: list[str] = []
    trained = train_stage(small, lessons_of(task), stage(tmp_path, told), 1, {table})
    assert trained.steps == 12
    after = constants(trained.network)
    for name, value in before.items():
        if name in free and name != table:
            assert (after[name] != value).any(), name
            np.testing.assert_array_equal(after[name][~free[name]], value[~free[name]])
        else:
            np.testing.assert_array_equal(after[name], value)
    assert len(told) == 12
    assert told[0].startswith("step 1, off by ")


def test_a_killed_stage_goes_on_where_it_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "CHECKPOINT_SECONDS", 0.0)
    task = task_of(tmp_path, 10)
    small = halved(task)

    class Killed(Exception):
        pass

    def kill(done: float, message: str) -> None:
        if message.startswith("step 8,"):
            raise Killed

    dying = Stage(0, 1e-6, 5.0, 1.0, 1.0, 0, tmp_path / "stage.checkpoint", kill)
    with pytest.raises(Killed):
        train_stage(small, lessons_of(task), dying, 1)
    told: list[str] = []
    trained = train_stage(small, lessons_of(task), stage(tmp_path, told), 1)
    assert told[0].startswith("step 8,")  # seven steps were saved
    assert trained.steps == 12
    with pytest.raises(CheckpointRefused, match="seed: 1 in the checkpoint, 2 now"):
        train_stage(small, lessons_of(task), stage(tmp_path), 2)


def test_training_that_diverges_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "RATE", 1e30)
    task = task_of(tmp_path, 10)
    with pytest.raises(FloatingPointError, match="5 steps in a row had no finite gradient"):
        train_stage(halved(task), lessons_of(task), stage(tmp_path), 1)
    # The search goes on with what was there before.
    tuned = task.finetune(halved(task), 1e-6, tmp_path / "tuned", lambda done, message: None, 5.0)
    assert not tuned.is_better
    assert tuned.ended.startswith("it diverged")


def test_states_go_on_between_windows_without_their_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "WINDOW", 2)
    task = task_of(tmp_path, 20, carried=True)
    training = steps._Training(halved(task), lessons_of(task), stage(tmp_path), 1, ())
    training.take()
    (reading,) = training._readings
    assert reading.at == 2
    state = reading.states["before"]
    assert not state.requires_grad
    assert float(state.abs().max()) > 0
    training.take()
    assert training._readings[0] is reading
    assert reading.is_over
