"""Modules of a user's own through `isslim.compress`, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import isslim
from isslim.compress.errors import ModuleNotCut
from isslim.compress.library.compressed import Compressed
from tests.compress.library import models

SIZE = {"limit": "size", "value": 0.7}


@dataclass(frozen=True)
class Case:
    """A module with its calls."""

    make: Callable[[], nn.Module]
    calls: Callable[[int, int], list[Any]]
    loss: Callable[[Any, Any], Tensor]


CASES = {
    "tagger of packed sentences": Case(models.Tagger, models.sentences, models.tagging_loss),
    "CRNN": Case(models.Crnn, models.images, models.image_loss),
}


@dataclass(frozen=True)
class Done:
    """A module and what was made of it."""

    case: Case
    original: nn.Module
    small: Compressed


@pytest.fixture(scope="module", params=list(CASES))
def done(request: pytest.FixtureRequest) -> Done:
    case = CASES[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        original = models.trained(case.make(), case.calls(20, 1), case.loss)
    small = isslim.compress(original, case.calls(15, 2), held_out=case.calls(5, 3), budget=SIZE)
    return Done(case, original, small)


def test_module_of_its_own_class_comes_back_smaller(done: Done) -> None:
    module = done.small.module
    assert type(module) is type(done.original)
    assert not any(part.training for part in module.modules())
    assert all(parameter.requires_grad for parameter in module.parameters())
    small, whole = (sum(p.numel() for p in each.parameters()) for each in (module, done.original))
    assert done.small.variants["original"].parameters == whole
    assert small <= done.small.variants["compressed"].parameters <= 0.7 * whole


def test_module_equals_its_graph(done: Done, tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(str(done.small.to_onnx(tmp_path / "small.onnx")))
    names = [port.name for port in session.get_inputs()]
    for call in done.case.calls(4, 4):
        (found,) = session.run(None, dict(zip(names, map(np.asarray, call), strict=True)))
        with torch.no_grad():
            expected = done.small.module(*call)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_module_trains_further(done: Done) -> None:
    calls = done.case.calls(20, 1)
    before = models.epoch(done.small.module, calls, done.case.loss)
    assert models.mean_loss(done.small.module, calls, done.case.loss) < before


def test_saved_bundle_of_a_module_is_compressed_again(done: Done, tmp_path: Path) -> None:
    saved = done.small.save(tmp_path / "saved")
    runs = [list(map(np.asarray, call)) for call in done.case.calls(12, 5)]
    with isslim.compress(saved, runs, budget=SIZE) as again:
        kept = {axis.name: axis.kept for axis in done.small.manifest.axes}
        assert {axis.name: axis.original for axis in again.manifest.axes} == kept
        assert (
            again.variants["compressed"].parameters <= 0.7 * again.variants["original"].parameters
        )
        with pytest.raises(ModuleNotCut, match="has no PyTorch module"):
            _ = again.module


def test_calls_may_be_arrays_and_named(done: Done) -> None:
    names = list(done.original.forward.__annotations__)[: len(done.case.calls(1, 0)[0])]
    calls = [
        dict(zip(names, map(np.asarray, call), strict=True)) for call in done.case.calls(15, 2)
    ]
    more = [tuple(map(np.asarray, call)) for call in done.case.calls(5, 3)]
    more_named = [dict(zip(names, call, strict=True)) for call in more]
    found = isslim.compress(done.original, calls, held_out=more_named, budget=SIZE)
    assert [axis.kept for axis in found.manifest.axes] == [
        axis.kept for axis in done.small.manifest.axes
    ]
