"""The loss of a step against its formula in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from isslim.compress.kinds.language.training import losses
from isslim.compress.kinds.language.training.losses import bfloat16_pays, loss_of
from isslim.compress.training.plan import TrainingPlan

T, B, V = 5, 3, 7


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("scale", ["mean", "sum_over_steps"])
@pytest.mark.parametrize("soft", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("taught", [False, True])
def test_loss_mixes_labels_and_teacher_in_the_plans_scale(
    scale: str, soft: float, taught: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, teacher = (torch.randn(T, B, V, generator=generator) for _ in range(2))
    labels = torch.randint(V, (T, B), generator=generator)
    plan = TrainingPlan(soft=soft, loss=scale)  # type: ignore[arg-type]
    loss, label_loss = loss_of(logits.requires_grad_(), labels, teacher if taught else None, plan)
    own = log_softmax(logits.detach().double().numpy())
    hard = -np.take_along_axis(own, labels.numpy()[..., None], -1).mean()
    other = -(np.exp(log_softmax(teacher.double().numpy())) * own).sum(-1).mean()
    expected = (1 - soft) * hard + soft * other if taught else hard
    assert float(label_loss) == pytest.approx(hard, rel=1e-5)
    assert loss.requires_grad
    loss.backward()  # type: ignore[no-untyped-call]
    target = np.eye(V)[labels.numpy()]
    if taught:
        target = (1 - soft) * target + soft * np.exp(log_softmax(teacher.double().numpy()))
    slope = (np.exp(own) - target) / (B if scale != "mean" else T * B)
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), slope, rtol=1e-4, atol=1e-7)
    assert not label_loss.requires_grad
    assert float(loss.detach()) == pytest.approx(expected * (T if scale != "mean" else 1), rel=1e-5)


def test_loss_of_many_rows_is_that_of_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    logits, teacher = (torch.randn(T, B, V, generator=generator) for _ in range(2))
    labels = torch.randint(V, (T, B), generator=generator)
    plan, found = TrainingPlan(soft=0.5), []
    for size in (2 * V, losses.IN_CACHE):  # two rows of the 15 at once, and all
        monkeypatch.setattr(losses, "IN_CACHE", size)
        own = logits.clone().requires_grad_()
        loss, label_loss = loss_of(own, labels, teacher, plan)
        loss.backward()  # type: ignore[no-untyped-call]
        assert own.grad is not None
        found.append((loss.detach(), label_loss, own.grad))
    for few, whole in zip(*found, strict=True):
        torch.testing.assert_close(few, whole, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("large", [1e4, -1e4])
def test_loss_of_large_logits_is_finite(large: float) -> None:
    logits = torch.tensor([[[large, 0.0, 1.0]]], requires_grad=True)
    loss, _ = loss_of(logits, torch.tensor([[1]]), None, TrainingPlan())
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(max(large, 1 + np.log1p(np.exp(-1.0))), rel=1e-5)
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


def test_half_precision_pays_where_the_processor_has_its_instructions() -> None:
    capabilities = torch.cpu.get_capabilities()
    expected = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    assert bfloat16_pays() is bool(expected)
    assert bfloat16_pays(torch.device("cpu")) is bool(expected)
