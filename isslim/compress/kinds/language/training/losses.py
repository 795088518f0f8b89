"""The loss of a step: of the labels and of a teacher's distribution, in the scale of the plan.

Legend: B batch, T steps, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isslim.compress.training.plan import TrainingPlan


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
    flat = logits.flatten(0, 1).float()
    hard = nn.functional.cross_entropy(flat, labels.flatten())
    loss = hard
    if teacher_logits is not None:
        target = teacher_logits.flatten(0, 1).float().softmax(dim=-1)
        loss = (1 - plan.soft) * hard + plan.soft * nn.functional.cross_entropy(flat, target)
    if plan.loss == "sum_over_steps":
        loss = loss * len(labels)  # mean over T x B -> sum over T, mean over B
    return loss, hard.detach()


def bfloat16_pays(device: torch.device | None = None) -> bool:
    """Whether the device has instructions for products in bfloat16; None: the CPU.

    A processor without them emulates them some two hundred times as slowly, and oneDNN has no LSTM
    in that type at all.
    """
    if device is not None and device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
