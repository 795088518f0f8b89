"""The figures of real sessions on a host that other processes keep busy."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.runtime.language.latency import compare
from isslim.runtime.language.session import LanguageSession


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Processes that never rest."""
    spin = "print(flush=True)\nwhile True: pass"
    others = [
        subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) for _ in range(count)
    ]
    try:
        for each in others:
            assert each.stdout is not None
            each.stdout.readline()
        yield
    finally:
        for each in others:
            each.kill()
            each.communicate()


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LanguageSession]:
    folder = tmp_path_factory.mktemp("clock")
    torch.manual_seed(0)
    for name, units in (("original", 192), ("compressed", 64)):
        export(
            LstmLanguageModel(LstmSpec(4000, units, (units, units))).eval(), folder / f"{name}.onnx"
        )
    return {
        name: LanguageSession(folder / f"{name}.onnx", threads=1)
        for name in ("original", "compressed")
    }


def test_one_thread_of_the_runtime_is_the_calling_thread(
    sessions: dict[str, LanguageSession],
) -> None:
    session, ids = sessions["original"], np.ones((30, 1), np.int64)
    state, lengths = session.zero_state(1), np.full(1, 30, np.int32)
    session.run(ids, ids, lengths, state)
    own, whole = time.thread_time(), time.process_time()
    for _ in range(20):
        session.run(ids, ids, lengths, state)
    assert time.thread_time() - own >= 0.9 * (time.process_time() - whole)


def test_neighbours_that_never_rest_do_not_change_the_figure(
    sessions: dict[str, LanguageSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISS_COMPARISON_SECONDS", "0.5")
    alone = compare(sessions, steps=30, batch=1)
    with neighbours(3):
        beside = compare(sessions, steps=30, batch=1)
    quiet = alone["original"].cpu_ms, alone["compressed"].cpu_ms
    assert None not in quiet
    expected = quiet[0] / quiet[1]  # type: ignore[operator]
    found = beside["compressed"]
    assert not found.steady or found.speedup == pytest.approx(expected, rel=0.15), (alone, beside)
