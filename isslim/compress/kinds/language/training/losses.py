"""The loss of a step: of the labels and of a teacher's distribution, in the scale of the plan.

Legend: B batch, T steps, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isslim.compress.training.plan import TrainingPlan

IN_CACHE = 1 << 18
"""Logits that are worked on at once: 1 MiB in float32."""


def loss_of(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, plan: TrainingPlan
) -> tuple[Tensor, Tensor]:
    """The loss to minimise, and the mean negative log-likelihood of the labels.

    Args:
        logits: of the network, (T, B, V).
        labels: int64 (T, B).
        teacher_logits: (T, B, V); with them the loss is `(1 - soft) * CE(labels) + soft *
            CE(teacher)`. None: no teacher.
        plan: its `loss` and `soft` count.

    Returns:
        Two scalars, the second in nats per token and without gradient.
    """
    teacher = None if teacher_logits is None else teacher_logits.flatten(0, 1)
    soft = 0.0 if teacher is None else plan.soft
    found: tuple[Tensor, Tensor] = _MeanLoss.apply(  # type: ignore[no-untyped-call]
        logits.flatten(0, 1), labels.flatten(), teacher, soft
    )
    loss, hard = found
    if plan.loss == "sum_over_steps":
        loss = loss * len(labels)  # mean over T x B -> sum over T, mean over B
    return loss, hard


class _MeanLoss(torch.autograd.Function):
    """Both losses and the gradient in one pass over the logits, N rows of V, some rows at a time.

    Half of a step of a small network over a large vocabulary is its loss: autograd would write
    several (N, V) arrays to memory, and read them again. Here the rows in work stay in the cache.
    """

    @staticmethod
    def forward(
        context: Any, logits: Tensor, labels: Tensor, teacher: Tensor | None, soft: float
    ) -> tuple[Tensor, Tensor]:
        """The mean loss, and that of the labels alone, in nats per row.

        Args:
            context: of autograd.
            logits: (N, V).
            labels: int64 (N,).
            teacher: logits (N, V); None: no teacher.
            soft: its share of the loss.
        """
        count, vocabulary = logits.shape
        rows = count if logits.is_cuda else max(1, IN_CACHE // vocabulary)
        gradient = torch.empty_like(logits)
        hard, other = (logits.new_zeros((), dtype=torch.float32) for _ in range(2))
        for start in range(0, count, rows):
            own, label = logits[start : start + rows].float(), labels[start : start + rows, None]
            most = own.amax(dim=1, keepdim=True)
            slope = (own - most).exp_()
            total = slope.sum(dim=1, keepdim=True)
            normaliser = most + total.log()
            hard += (normaliser - own.gather(1, label)).sum()
            slope /= total  # the probabilities
            if soft > 0 and teacher is not None:
                target = teacher[start : start + rows].float().softmax(dim=1)
                other += normaliser.sum() - (target * own).sum()
                slope.sub_(target, alpha=soft)
            if soft < 1:
                slope.scatter_add_(1, label, torch.full_like(normaliser, soft - 1))
            gradient[start : start + rows] = slope.div_(count)
        context.save_for_backward(gradient)
        hard, other = hard / count, other / count
        context.mark_non_differentiable(hard)
        return (1 - soft) * hard + soft * other, hard

    @staticmethod
    def backward(context: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient of the loss by the logits; see `torch.autograd.Function`.

        Args:
            context: of autograd.
            slopes: of what follows, by the loss and by that of the labels, which has none.
        """
        (gradient,) = context.saved_tensors
        return gradient * slopes[0], None, None, None


def bfloat16_pays(device: torch.device | None = None) -> bool:
    """Whether the device has instructions for products in bfloat16; None: the CPU.

    A processor without them emulates them some two hundred times as slowly, and oneDNN has no LSTM
    in that type at all.
    """
    if device is not None and device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
