"""Losses of outputs against sums that are written out, and as shares of a constant's loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from isslim.compress.kinds.graphs.comparing import compared
from isslim.compress.kinds.graphs.distilling.losses import OutputLosses, added, state_error
from isslim.compress.kinds.graphs.distilling.output_kinds import Family, OutputKind

KINDS: list[tuple[Family, int]] = [
    ("numbers", -1), ("probabilities", -1), ("probabilities", -2), ("log-probabilities", -1),
    ("chances", -1),
]  # fmt: skip


def answers(family: Family, axis: int, seed: int, shape: tuple[int, ...] = (4, 3, 5)) -> np.ndarray:
    scores = np.random.default_rng(seed).normal(0, 1.5, shape)
    if family == "numbers":
        return scores.astype(np.float32)
    if family == "chances":
        return (1 / (1 + np.exp(-scores))).astype(np.float32)
    shares = np.exp(scores) / np.exp(scores).sum(axis, keepdims=True)
    return (np.log(shares) if family == "log-probabilities" else shares).astype(np.float32)


def written_out(family: Family, axis: int, found: np.ndarray, wanted: np.ndarray) -> float:
    """The mean loss per row or number, in loops."""
    ours, whole = found.astype(np.float64), wanted.astype(np.float64)
    if family == "numbers":
        return float(np.mean((ours - whole) ** 2))
    if family == "chances":
        total = sum(
            p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
            for p, q in zip(whole.flat, ours.flat, strict=True)
        )
        return total / whole.size
    if family == "log-probabilities":
        ours, whole = np.exp(ours), np.exp(whole)
    rows = zip(
        np.moveaxis(ours, axis, -1).reshape(-1, ours.shape[axis]),
        np.moveaxis(whole, axis, -1).reshape(-1, whole.shape[axis]),
        strict=True,
    )
    losses = [sum(p * math.log(p / q) for q, p in zip(*row, strict=True)) for row in rows]
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("family", "axis"), KINDS)
def test_a_loss_is_the_divergence_of_its_kind_as_a_share_of_the_best_constants(
    family: Family, axis: int
) -> None:
    kind, runs = OutputKind(family, axis), [answers(family, axis, seed) for seed in range(3)]
    losses = OutputLosses.of({"y": kind}, [{"y": run} for run in runs])
    found = answers(family, axis, 9)
    loss = losses.mean(losses.sums({"y": torch.from_numpy(found)}, {"y": runs[0]}))
    expected = written_out(family, axis, found, runs[0]) / losses.scales["y"]
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    # A constant answer, which is the mean over all runs, loses one share over all of them.
    whole = np.exp(runs) if family == "log-probabilities" else np.array(runs)
    if family in ("numbers", "chances"):
        constant = np.full(runs[0].shape, whole.mean(), np.float32)
    else:
        mean = np.moveaxis(whole, axis, -1).reshape(-1, whole.shape[axis]).mean(0)
        constant = np.moveaxis(
            np.broadcast_to(mean, np.moveaxis(runs[0], axis, -1).shape), -1, axis
        )
        constant = np.log(constant) if family == "log-probabilities" else constant
    sums: dict = {}
    for run in runs:
        answer = torch.from_numpy(np.array(constant, np.float32))
        sums = added(sums, losses.sums({"y": answer}, {"y": run}))
    assert float(losses.mean(sums)) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize(("family", "axis"), KINDS)
def test_equal_outputs_lose_nothing_and_gradients_lead_there(family: Family, axis: int) -> None:
    kind, wanted = OutputKind(family, axis), answers(family, axis, 0)
    losses = OutputLosses.of({"y": kind}, [{"y": wanted}])

    def loss(scores: Tensor) -> Tensor:
        if family == "chances":
            made = torch.sigmoid(scores)
        elif family == "numbers":
            made = scores
        else:
            made = torch.log_softmax(scores, axis)
            made = torch.exp(made) if family == "probabilities" else made
        return losses.mean(losses.sums({"y": made}, {"y": wanted}))

    exact = torch.from_numpy(wanted.copy())
    assert float(losses.mean(losses.sums({"y": exact}, {"y": wanted}))) == pytest.approx(
        0, abs=1e-6
    )
    scores = torch.zeros(wanted.shape, requires_grad=True)
    optimizer = torch.optim.Adam([scores], 0.1)
    first = float(loss(scores).detach())
    for _ in range(200):
        optimizer.zero_grad()
        loss(scores).backward()
        optimizer.step()
    assert float(loss(scores).detach()) < 0.01 * first


def test_of_numbers_the_root_is_the_change_of_outputs_that_is_published() -> None:
    wanted = [{"y": answers("numbers", -1, seed)} for seed in range(3)]
    found = [{"y": run["y"] + 0.1 * answers("numbers", -1, 7)} for run in wanted]
    losses, sums = OutputLosses.of({"y": OutputKind("numbers")}, wanted), {}
    for one, other in zip(found, wanted, strict=True):
        sums = added(sums, losses.sums({"y": torch.from_numpy(one["y"])}, other))
    published = compared("output_change", found, wanted, ["y"]).value
    assert math.sqrt(float(losses.mean(sums))) == pytest.approx(published, rel=1e-5)


def test_outputs_count_alike_whatever_their_scale_and_kind() -> None:
    kinds = {"large": OutputKind("numbers"), "small": OutputKind("numbers")}
    wanted = {name: answers("numbers", -1, 1) * scale for name, scale in
              (("large", 1000), ("small", 0.001))}  # fmt: skip
    losses = OutputLosses.of(kinds, [wanted])
    off = {name: torch.from_numpy(1.1 * array) for name, array in wanted.items()}
    each = [float(losses.mean({name: sums})) for name, sums in losses.sums(off, wanted).items()]
    assert each[0] == pytest.approx(each[1], rel=1e-3)


def test_what_the_original_gives_as_minus_infinity_counts_for_nothing() -> None:
    wanted = answers("numbers", -1, 0)
    wanted[0, 0, 0] = -np.inf
    losses = OutputLosses.of({"y": OutputKind("numbers")}, [{"y": wanted}])
    found = torch.from_numpy(np.where(np.isfinite(wanted), wanted, 5.0).astype(np.float32))
    found.requires_grad_(True)
    loss = losses.mean(losses.sums({"y": found}, {"y": wanted}))
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.isfinite(found.grad).all()
    logs = np.log(np.array([[0.5, 0.5, 0.0]], np.float32) + 0.0, where=[[True, True, False]],
                  out=np.full((1, 3), -np.inf, np.float32))  # fmt: skip
    losses = OutputLosses.of({"y": OutputKind("log-probabilities")}, [{"y": logs}])
    same = losses.mean(losses.sums({"y": torch.from_numpy(logs)}, {"y": logs}))
    assert float(same) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("family", ["numbers", "probabilities", "chances"])
def test_an_output_that_never_varies_has_a_finite_loss(family: Family) -> None:
    wanted = np.full((2, 4), 0.25, np.float32)
    losses = OutputLosses.of({"y": OutputKind(family)}, [{"y": wanted}])
    loss = losses.mean(losses.sums({"y": torch.from_numpy(wanted + 0.01)}, {"y": wanted}))
    assert 0 < abs(float(loss)) < 1e3


def test_of_a_state_units_that_are_gone_count_for_nothing() -> None:
    wanted = torch.tensor([[1.0, 2.0, 3.0, 5.0]])
    found = torch.tensor([[1.5, 0.0, 3.0, 5.0]], requires_grad=True)
    error = state_error(found, wanted)
    values = [1.0, 3.0, 5.0]
    expected = 0.25 / 3 / np.var(values)
    assert float(error.detach()) == pytest.approx(expected, rel=1e-5)
    error.backward()
    assert found.grad is not None
    assert found.grad[0, 1] == 0
    assert float(state_error(torch.zeros(1, 4), wanted)) == 0
