"""The loss of a step against its formula in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

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
    assert not label_loss.requires_grad
    assert float(loss.detach()) == pytest.approx(expected * (T if scale != "mean" else 1), rel=1e-5)


def test_half_precision_pays_where_the_processor_has_its_instructions() -> None:
    capabilities = torch.cpu.get_capabilities()
    expected = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    assert bfloat16_pays() is bool(expected)
    assert bfloat16_pays(torch.device("cpu")) is bool(expected)
