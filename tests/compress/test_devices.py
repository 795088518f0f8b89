"""Training and judging on a GPU, where there is one; and what a failing device ends as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from isslim.compress.devices import device_named, placed
from isslim.compress.errors import DeviceFailed
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.registry import build, spec_of
from isslim.compress.kinds.language.training.evaluation import perplexity, perplexity_on_device
from isslim.compress.kinds.language.training.loop import PROGRESS_INTERVAL, train
from isslim.compress.training.learners.proximal import ProximalGroupLasso
from isslim.compress.training.plan import TrainingPlan

NOT_FLAT = "RNN module weights are not part of single contiguous chunk"


def gpu(test: Callable[..., None]) -> Callable[..., None]:
    """Needs a GPU. Pytest resets warning filters, so the one that `layers` ignores is ignored."""
    skipped = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
    return pytest.mark.filterwarnings(f"ignore:{NOT_FLAT}")(skipped(test))  # type: ignore[no-any-return]


TOKENS = torch.randint(50, (4000,), generator=torch.Generator().manual_seed(1))
PLAN = TrainingPlan(epochs=2, batch=10, steps=10, optimizer="adamw", learning_rate=0.003, clip=1.0)


def network(kind: str, seed: int = 0, dropout: float = 0.0) -> LanguageModel:
    torch.manual_seed(seed)
    spec = spec_of(
        kind, 50, 24, (24,) if kind == "rhn" else (32, 24), depth=2 if kind == "rhn" else 1
    )
    return build(spec, dropout).eval()


def test_a_device_that_is_not_there_is_refused_by_name() -> None:
    assert device_named("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="'cuda' is not there"):
            device_named("cuda")


def test_networks_come_back_to_where_they_were_also_from_a_failure() -> None:
    one = network("lstm")
    with placed(one) as there:
        assert next(one.parameters()).device.type == there.type
    assert next(one.parameters()).device.type == "cpu"
    with pytest.raises(KeyError), placed(one):
        raise KeyError
    assert next(one.parameters()).device.type == "cpu"


@pytest.mark.parametrize(
    "fault", [torch.AcceleratorError("device lost"), torch.OutOfMemoryError("full")]
)
def test_a_lost_device_is_an_answer(fault: Exception) -> None:
    with pytest.raises(DeviceFailed, match="nothing was published"), placed(network("lstm")):
        raise fault


@gpu
@pytest.mark.parametrize("kind", ["lstm", "gru", "rhn"])
def test_a_gpu_trains_and_judges_as_the_processor_does(kind: str) -> None:
    start, teacher = network(kind), network(kind, seed=1)
    here = train(start, TOKENS, PLAN, teacher=teacher).network
    with placed(start, teacher) as device:
        assert device.type == "cuda"
        there = train(start, TOKENS, PLAN, teacher=teacher).network.cpu()
    for name, array in here.arrays().items():
        np.testing.assert_allclose(there.arrays()[name], array, atol=2e-3, err_msg=name)
    assert perplexity_on_device(there, TOKENS) == pytest.approx(perplexity(there, TOKENS), rel=1e-4)
    assert next(there.parameters()).device.type == "cpu"


@gpu
def test_a_network_shrinks_on_a_gpu() -> None:
    start = network("lstm")
    with placed(start):
        trained = train(start, TOKENS, PLAN, learner=ProximalGroupLasso(0.5, 80))
    sizes = trained.network.declaration().axes
    assert sum(sizes.values()) < 0.7 * sum(start.declaration().axes.values())
    assert {axis: len(kept) for axis, kept in trained.kept.items()} == {
        axis: sizes[axis] for axis in trained.kept
    }


def assert_taken_up_bit_by_bit(kind: str, device: torch.device, folder: Path) -> None:
    """A run stopped in the middle of its second epoch ends as an undisturbed one."""
    start, checkpoint = network(kind, dropout=0.2).to(device), folder / "run"
    told = list[str]()

    def stop(done: float, message: str) -> None:
        told.append(message)
        if message.startswith(f"step {3 * PROGRESS_INTERVAL},"):
            raise InterruptedError

    eager = replace(PLAN, checkpoint_minutes=1e-12)  # after every step
    whole = train(start, TOKENS, eager, checkpoint=folder / "whole")
    with pytest.raises(InterruptedError):
        train(start, TOKENS, eager, checkpoint=checkpoint, progress=stop)
    segments = (len(TOKENS) // PLAN.batch - 1) // PLAN.steps
    assert steps_in(folder / "whole") == 2 * segments
    assert segments < steps_in(checkpoint) == 3 * PROGRESS_INTERVAL - 1 < 2 * segments - 1
    assert [message.split()[0] for message in told] == ["step", "epoch", "step", "step"]
    again = train(start, TOKENS, eager, checkpoint=checkpoint)
    assert steps_in(checkpoint) == 2 * segments
    assert [replace(each, seconds=0) for each in again.epochs] == [
        replace(each, seconds=0) for each in whole.epochs
    ]
    for name, array in whole.network.arrays().items():
        np.testing.assert_array_equal(again.network.arrays()[name], array, err_msg=name)


def steps_in(checkpoint: Path) -> int:
    """How far a run on disk has come."""
    return int(torch.load(checkpoint, weights_only=True, map_location="cpu")["run"]["step"])


@pytest.mark.parametrize(
    "kind", ["lstm", *(pytest.param(each, marks=pytest.mark.slow) for each in ("gru", "rhn"))]
)
def test_a_run_on_the_processor_is_taken_up_bit_by_bit(kind: str, tmp_path: Path) -> None:
    assert_taken_up_bit_by_bit(kind, torch.device("cpu"), tmp_path)


@gpu
@pytest.mark.parametrize("kind", ["lstm", "gru", "rhn"])
def test_a_run_on_a_gpu_is_taken_up_bit_by_bit(kind: str, tmp_path: Path) -> None:
    assert_taken_up_bit_by_bit(kind, device_named("cuda"), tmp_path)
