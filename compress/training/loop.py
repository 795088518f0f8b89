"""One training loop for language models: truncated back-propagation with carried state, resumable.

It trains from scratch (`teacher=None`) and fine-tunes a pruned model by distilling from the original: the loss is
then `(1 - soft) * CE(labels) + soft * KL(teacher || student)`. The learning rate rises linearly over the first 2 %
and falls along a cosine to 1 % of its peak, over a horizon known in advance (steps) so that a resumed run is the
same run.

A checkpoint holds weights, optimizer, step, state and both random generators; a run resumed from it on the same
machine continues bit for bit.

Legend: B batch, T steps, V vocabulary, N tokens of the corpus.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from compress.networks.contract import LanguageModel, State, detach

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class TrainingPlan:
    """How a model is trained.

    `minutes` ends the run early by the clock and takes the place of the horizon: the schedule then follows the
    fraction of the time spent instead of the fraction of the steps. From scratch, plain SGD with a large step and a
    tight clip (both in the scale of a mean loss) leaves the plateau of word frequencies far sooner than Adam does.
    `bfloat16` asks for autocast where the processor multiplies in that type (`bfloat16_pays`); elsewhere it changes nothing.
    """

    epochs: float = 6.0
    minutes: float | None = None
    batch: int = 20
    steps: int = 35
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 20.0
    weight_decay: float = 0.0
    clip: float = 0.25
    soft: float = 0.5
    seed: int = 1
    bfloat16: bool = False
    checkpoint_minutes: float = 2.0


def bfloat16_pays() -> bool:
    """Whether this processor has instructions for products in bfloat16.

    Where it has none, they are emulated some two hundred times as slowly, and oneDNN has no LSTM in that type at all.
    """
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def in_streams(tokens: Tensor, batch: int) -> Tensor:
    """(N,) -> (N // B, B): B contiguous streams side by side; the tail that does not fill a row is dropped."""
    rows = len(tokens) // batch
    return tokens[: rows * batch].view(batch, rows).t().contiguous()


def train(
    network: LanguageModel,
    tokens: Tensor,
    plan: TrainingPlan,
    *,
    teacher: LanguageModel | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Trains `network` in place.

    Args:
        network: the model; left in evaluation mode at its last weights.
        tokens: int64 (N,), the corpus as one stream.
        plan: the schedule.
        teacher: the model to distil from, with the same vocabulary.
        checkpoint: where to resume from if it exists, and to write every `checkpoint_minutes`.
        progress: called with the share done (0 to 1) and a line to show.

    Raises:
        ValueError: when the corpus is too short for one step of the batch.
        FloatingPointError: when the loss stops being a number.
    """
    streams = in_streams(tokens, plan.batch)  # (rows, B)
    segments = (len(streams) - 1) // plan.steps
    if segments < 1:
        raise ValueError(
            f"the corpus has {len(tokens)} tokens; a batch of {plan.batch} x {plan.steps} steps needs "
            f"at least {plan.batch * (plan.steps + 1)}"
        )
    total = max(1, round(segments * plan.epochs))
    torch.manual_seed(plan.seed)
    optimizer = _optimizer(network, plan)
    state, teacher_state = network.zero_state(plan.batch), None if teacher is None else teacher.zero_state(plan.batch)
    step, spent = 0, 0.0
    if checkpoint is not None and checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        state, teacher_state = saved["state"], saved["teacher_state"]
        step, spent = saved["step"], saved["spent"]
        torch.set_rng_state(saved["generator"])
    started, last_saved = time.monotonic() - spent, time.monotonic()
    running, half = math.nan, plan.bfloat16 and bfloat16_pays()
    network.train()
    while True:
        elapsed = time.monotonic() - started
        done = step / total if plan.minutes is None else elapsed / (60 * plan.minutes)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * _schedule(done)
        row = (step % segments) * plan.steps
        if step % segments == 0:
            state, teacher_state = (
                network.zero_state(plan.batch),
                None if teacher is None else teacher.zero_state(plan.batch),
            )
        inputs, labels = streams[row : row + plan.steps], streams[row + 1 : row + plan.steps + 1]  # (T, B)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            logits, state = network(inputs, detach(state))
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        hard = float(loss.detach())
        if teacher is not None and teacher_state is not None:
            with torch.no_grad():
                guide, teacher_state = teacher(inputs, teacher_state)
            loss = (1 - plan.soft) * loss + plan.soft * _divergence(logits, guide)
        if not math.isfinite(hard):
            raise FloatingPointError(f"the loss is {hard} at step {step}; lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), plan.clip)
        optimizer.step()
        step += 1
        running = hard if math.isnan(running) else 0.99 * running + 0.01 * hard
        if progress is not None and step % 20 == 0:
            progress(min(done, 1.0), f"step {step}, training perplexity {math.exp(min(running, 20)):.1f}")
        if checkpoint is not None and time.monotonic() - last_saved > 60 * plan.checkpoint_minutes:
            _save(
                checkpoint,
                network=network.state_dict(),
                optimizer=optimizer.state_dict(),
                state=detach(state),
                teacher_state=teacher_state,
                step=step,
                spent=time.monotonic() - started,
                generator=torch.get_rng_state(),
            )
            last_saved = time.monotonic()
    network.eval()


@torch.no_grad()
def perplexity(network: LanguageModel, tokens: Tensor, streams: int = 10, steps: int = 70) -> float:
    """Exp of the mean negative log-likelihood of `tokens` (N,) after the first of each stream, state carried.

    A quick estimate for use inside training and search: every stream starts from the zero state. The figure that is
    published comes from `runtime`.
    """
    network.eval()
    rows = in_streams(tokens, max(1, min(streams, len(tokens) // 2)))
    state: State = network.zero_state(rows.shape[1])
    total = 0.0
    for start in range(0, len(rows) - 1, steps):
        labels = rows[start + 1 : start + steps + 1]
        logits, state = network(rows[start : start + len(labels)], state)
        total += float(nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum"))
    return math.exp(total / ((len(rows) - 1) * rows.shape[1]))


def _optimizer(network: nn.Module, plan: TrainingPlan) -> torch.optim.Optimizer:
    if plan.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    return torch.optim.AdamW(
        network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay, betas=(0.9, 0.99)
    )


def _schedule(done: float) -> float:
    warm = 0.02
    if done < warm:
        return max(done, 1e-3) / warm
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean cross-entropy (nats per token) of the student's distribution under the teacher's; logits (T, B, V)."""
    target = teacher.flatten(0, 1).float().softmax(dim=-1)
    return nn.functional.cross_entropy(student.flatten(0, 1).float(), target)


def _save(path: Path, **content: Any) -> None:
    """Writes beside and renames, so that a kill leaves the last whole checkpoint."""
    temporary = path.with_suffix(".partial")
    torch.save(content, temporary)
    temporary.replace(path)
