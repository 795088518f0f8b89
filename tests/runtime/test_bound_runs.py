"""Runs in memory that stays where it is give what other runs give."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnxruntime import InferenceSession
from onnxruntime.capi.onnxruntime_inference_collection import (
    _GPU_GRAPH_ID_RUN_CONFIG_KEY as LOOKED_UP,
)

from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.runtime import bound_runs
from isslim.runtime.bound_runs import Array, BoundRuns
from isslim.runtime.errors import RunStopped
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.run_control import RunControl

WORDS = 23


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = LstmLanguageModel(LstmSpec(WORDS, 8, (8, 12)))
    network.initialise(0.5, torch.Generator().manual_seed(0))
    target = tmp_path_factory.mktemp("bound") / "model.onnx"
    export(network, target)
    return target


@pytest.fixture
def session(path: Path) -> InferenceSession:
    return InferenceSession(str(path), providers=["CPUExecutionProvider"])


def bound(session: InferenceSession) -> BoundRuns:
    return BoundRuns(
        session,
        [each.name for each in session.get_inputs()],
        [each.name for each in session.get_outputs()],
    )


def inputs(session: InferenceSession, steps: int, batch: int, seed: int) -> list[Array]:
    generator = np.random.default_rng(seed)
    found: list[Array] = []
    for each in session.get_inputs():
        if each.name in ("tokens", "targets"):
            found.append(generator.integers(0, WORDS, (steps, batch)))
        elif each.name == "lengths":
            found.append(np.full(batch, steps, np.int32))
        elif each.name == "positions":
            found.append(np.zeros((seed % 2, 2), np.int64))
        else:
            found.append(generator.normal(size=(1, batch, each.shape[2])).astype(np.float32))
    return found


def usual(session: InferenceSession, arrays: list[Array]) -> list[Array]:
    names = [each.name for each in session.get_inputs()]
    return list(session.run(None, dict(zip(names, arrays, strict=True))))


def shapes() -> Iterator[tuple[int, int]]:
    for shape in ((1, 1), (5, 2), (1, 1)):
        yield from [shape] * 4


def test_every_run_equals_one_that_is_not_bound(session: InferenceSession) -> None:
    runs = bound(session)
    for seed, (steps, batch) in enumerate(shapes()):
        arrays = inputs(session, steps, batch, 2 * seed)
        for one, other in zip(runs.run(arrays), usual(session, arrays), strict=True):
            np.testing.assert_array_equal(one, other)
    assert runs._of_thread.memory is not None  # the last runs were bound ones


def test_inputs_of_another_shape_each_time_are_run_as_usual(session: InferenceSession) -> None:
    runs = bound(session)
    for seed in range(6):
        arrays = inputs(session, 1 + seed % 2, 1, seed)
        for one, other in zip(runs.run(arrays), usual(session, arrays), strict=True):
            np.testing.assert_array_equal(one, other)
    assert runs._of_thread.memory is None


def test_results_are_the_callers_own(session: InferenceSession) -> None:
    runs = bound(session)
    for _ in range(3):
        first = runs.run(inputs(session, 1, 1, 0))
    kept = [array.copy() for array in first]
    first[2][...] = 7.0
    again = runs.run(inputs(session, 1, 1, 0))
    runs.run(inputs(session, 1, 1, 2))
    for one, other in zip(again, kept, strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_thread_has_memory_of_its_own(session: InferenceSession) -> None:
    runs, faults = bound(session), list[str]()

    def many(seed: int) -> None:
        arrays = inputs(session, 1, 1, 2 * seed)
        wanted = usual(session, arrays)
        for _ in range(300):
            for one, other in zip(runs.run(arrays), wanted, strict=True):
                if not np.array_equal(one, other):
                    faults.append(f"seed {seed}")

    threads = [threading.Thread(target=many, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_arrays_of_another_dtype_are_refused_as_without_it(session: InferenceSession) -> None:
    runs, arrays = bound(session), inputs(session, 1, 1, 0)
    for _ in range(3):
        runs.run(arrays)
    with pytest.raises(Exception, match="Unexpected input data type"):
        runs.run([arrays[0].astype(np.float32), *arrays[1:]])


def test_large_runs_are_not_copied(
    session: InferenceSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound_runs, "MAX_BYTES", 100)
    runs = bound(session)
    for _ in range(3):
        runs.run(inputs(session, 1, 1, 0))
    assert runs._of_thread.memory is None


def test_a_bound_run_ends_when_it_is_stopped(path: Path) -> None:
    control = RunControl()
    session = LanguageSession(path).bound(control)
    ids, lengths = np.zeros((1, 1), np.int64), np.ones(1, np.int32)
    for _ in range(3):
        session.run(ids, ids, lengths, session.zero_state(1))
    control.stop()
    with pytest.raises(RunStopped):
        session.run(ids, ids, lengths, session.zero_state(1))


def test_a_bound_session_is_the_same_one_with_a_control(path: Path) -> None:
    session, control = LanguageSession(path), RunControl()
    found = session.bound(control)
    assert type(found) is LanguageSession
    assert vars(found) == vars(session) | {"_control": control}
    assert session._control is None


def test_options_of_a_run_hold_what_the_interface_looks_up() -> None:
    """It would else raise an error inside of ONNX Runtime in each run, and catch it."""
    assert RunControl().options.get_run_config_entry(LOOKED_UP) == "0"
    with pytest.raises(RuntimeError):
        onnxruntime.RunOptions().get_run_config_entry(LOOKED_UP)
