"""A compression leaves the process and the model as they were, whether it succeeds or fails."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch import nn

import isslim
from tests.compress.library import models

SIZE = {"limit": "size", "value": 0.6}
OTHERS: set[threading.Thread] = set()
"""Threads that ran before a test: what earlier ones left may end at any time."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks")


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary folders of this test alone: others run at the same time."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.fixture(autouse=True)
def others() -> Iterator[None]:
    """Notes the threads of others."""
    OTHERS.update(threading.enumerate())
    yield
    OTHERS.clear()


def process_state() -> dict[str, Any]:
    """What a compression could change in a process."""
    return {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "filters": list(warnings.filters),
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),  # type: ignore[index,union-attr]
        "torch": torch.get_rng_state().tolist(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "backends": (torch.backends.mkldnn.enabled, torch.are_deterministic_algorithms_enabled()),
        "logging": (logging.root.level, list(logging.root.handlers)),
        "backend": mpl.get_backend(auto_select=False),
        # To read the backend here would select one.
        "plots": {name: mpl.rcParams[name] for name in mpl.rcParams if name != "backend"},
        "path": list(sys.path),
        "signals": [signal.getsignal(each) for each in (signal.SIGALRM, signal.SIGINT)],
        "running": [thread for thread in threading.enumerate() if thread not in OTHERS],
        "temporary": sorted(Path(tempfile.gettempdir()).glob("isslim-*")),
    }


def module_state(module: nn.Module) -> dict[str, Any]:
    """What a compression could change in a module."""
    parts = dict(module.named_modules())
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        "modes": {name: part.training for name, part in parts.items()},
        "hooks": {
            name: [len(getattr(part, each)) for each in HOOKS] for name, part in parts.items()
        },
        "attributes": {name: sorted(vars(part)) for name, part in parts.items()},
        "places": {name: (t.data_ptr(), t.device, t.dtype) for name, t in tensors.items()},
        "values": {name: t.detach().clone().tolist() for name, t in tensors.items()},
        "trained": {name: t.requires_grad for name, t in tensors.items()},
        "gradients": {
            name: None if t.grad is None else t.grad.tolist() for name, t in tensors.items()
        },
    }


@pytest.fixture
def module() -> nn.Module:
    """With a hook, a frozen parameter and gradients."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = models.trained(models.Tagger(), models.sentences(10, 1), models.tagging_loss)
    module.zero_grad()
    models.tagging_loss(module, models.sentences(1, 5)[0]).backward()
    module.register_forward_hook(lambda *_: None)
    next(module.parameters()).requires_grad_(False)
    return module


class Interrupted(Exception):
    """Raised by the caller's own function in the middle."""


def stop_in(stage: str) -> Any:
    def report(now: str, done: float, message: str) -> None:
        if now == stage:
            raise Interrupted

    return report


def test_nothing_is_changed_and_nothing_is_printed(
    module: nn.Module, capfd: pytest.CaptureFixture[str]
) -> None:
    isslim.compress(module, models.sentences(15, 2), budget=SIZE).close()  # imports are done
    capfd.readouterr()
    process, own = process_state(), module_state(module)
    with isslim.compress(module, models.sentences(15, 2), budget=SIZE, seed=7):
        pass
    assert process_state() == process
    assert module_state(module) == own
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("stage", ["calibrate", "search", "measure", "publish"])
def test_an_error_in_the_middle_changes_nothing(stage: str, module: nn.Module) -> None:
    process, own = process_state(), module_state(module)
    with pytest.raises(Interrupted):
        isslim.compress(module, models.sentences(15, 2), budget=SIZE, progress=stop_in(stage))
    assert process_state() == process
    assert module_state(module) == own


def test_a_refusal_changes_nothing(module: nn.Module) -> None:
    module.train()
    process, own = process_state(), module_state(module)
    with pytest.raises(isslim.compress.errors.CompressError, match="training mode"):
        isslim.compress(module, models.sentences(15, 2))
    assert process_state() == process
    assert module_state(module) == own


def test_a_change_is_noticed(module: nn.Module) -> None:
    process, own = process_state(), module_state(module)
    torch.rand(1)
    os.environ["ISSLIM_TEST"] = "1"
    try:
        assert {name for name, value in process_state().items() if value != process[name]} == {
            "environment",
            "torch",
        }
    finally:
        del os.environ["ISSLIM_TEST"]
    module.train()
    assert module_state(module)["modes"] != own["modes"]


@pytest.mark.slow
def test_modes_of_autograd_do_not_matter(module: nn.Module) -> None:
    calls = models.sentences(15, 2)
    expected = isslim.compress(module, calls, budget=SIZE)
    with torch.no_grad():
        found = isslim.compress(module, calls, budget=SIZE)
    with torch.inference_mode():
        other = isslim.compress(module, calls, budget=SIZE)
    for each in (found, other):
        assert [axis.kept_indices for axis in each.manifest.axes] == [
            axis.kept_indices for axis in expected.manifest.axes
        ]
        assert models.epoch(each.module, calls, models.tagging_loss) > 0


@pytest.mark.slow
def test_it_works_in_a_thread(module: nn.Module) -> None:
    found: list[Any] = []

    def work() -> None:
        found.append(isslim.compress(module, models.sentences(15, 2), budget=SIZE))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].variants["compressed"].parameters < found[0].variants["original"].parameters


@pytest.mark.slow
def test_two_threads_at_once_get_what_one_gets(
    module: nn.Module, capfd: pytest.CaptureFixture[str]
) -> None:
    calls, found = models.sentences(15, 2), list[Any]()
    expected = isslim.compress(module, calls, budget=SIZE)
    own = process_state()
    start = threading.Barrier(2)

    def work() -> None:
        start.wait()
        found.append(isslim.compress(module, calls, budget=SIZE))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [[axis.kept_indices for axis in each.manifest.axes] for each in found] == [
        [axis.kept_indices for axis in expected.manifest.axes]
    ] * 2
    for each in (expected, *found):
        each.close()
    after = process_state()
    assert {name for name in own if name != "temporary" and own[name] != after[name]} == set()
    assert capfd.readouterr() == ("", "")


FRESH = """
import logging, os, sys, warnings
import torch
import isslim
from tests.compress.library import models
torch.manual_seed(0)
torch.set_num_threads(1)
module = models.trained(models.Tagger(), models.sentences(5, 1), models.tagging_loss, 2)
def state():
    return dict(os.environ), list(warnings.filters), logging.root.handlers[:]
before, random = state(), torch.get_rng_state()
calls = models.sentences(15, 2)
with isslim.compress(module, calls, budget={"limit": "size", "value": 0.6}, minutes=0.05) as small:
    small.module
assert state() == before, (before, state())
assert torch.equal(random, torch.get_rng_state())
assert "matplotlib.pyplot" not in sys.modules
servers = {"dbos", "sqlalchemy", "obstore", "psycopg", "fastapi", "httpx", "structlog"}
assert not servers & set(sys.modules), servers & set(sys.modules)
"""


@pytest.mark.slow
def test_first_call_of_a_process_changes_nothing_and_loads_no_database(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", FRESH], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
