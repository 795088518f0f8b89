"""The one training loop for language models: truncated back-propagation with carried state, resumable.

It trains from scratch (`teacher=None`) and fine-tunes a pruned model by distilling from the
original. A learner adds what makes a network learn which components it can lose; between epochs
they are removed, so that later epochs cost less.

A run whose loss stops being a number goes back to the start of its epoch and takes half the step
from there.

Legend: B batch, T steps of a segment, V vocabulary, N tokens of the corpus.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from isslim.compress.devices import device_of
from isslim.compress.errors import TrainingDiverged
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.training.evaluation import in_streams, perplexity
from isslim.compress.kinds.language.training.losses import bfloat16_pays, loss_of
from isslim.compress.kinds.language.training.plan import EpochRecord, TrainingOutcome
from isslim.compress.kinds.language.training.run import Run
from isslim.compress.statistics.perplexity import perplexity_of
from isslim.compress.training.checkpoints import (
    configuration_of,
    load_training_checkpoint,
    save_training_checkpoint,
)
from isslim.compress.training.hooks import Learner
from isslim.compress.training.optimizers import (
    averaged_weights,
    averages,
    has_stalled,
    set_learning_rate,
    start_averaging,
)
from isslim.compress.training.plan import Progress, TrainingPlan
from isslim.compress.training.ranks import ranks
from isslim.compress.training.schedules import share_of_peak
from isslim.compress.training.state import detach

MAX_SETBACKS = 3
PROGRESS_INTERVAL = 20


def train(
    network: LanguageModel,
    tokens: Tensor,
    plan: TrainingPlan,
    *,
    teacher: LanguageModel | None = None,
    learner: Learner | None = None,
    valid: Tensor | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> TrainingOutcome:
    """Trains a copy of `network`.

    In a process of a `torchrun` group it trains together with the others, each on its share of the
    streams; all return the same network, only the first writes and tells.

    Args:
        network: the model to start from; left alone.
        tokens: int64 (N,), the corpus as one stream.
        plan: the schedule.
        teacher: the model to distil from, with the same vocabulary, in evaluation mode.
        learner: what is added to plain training.
        valid: int64 (N,), judged after every epoch.
        checkpoint: where to resume from if it exists, and to write every `checkpoint_minutes` and
            after every epoch.
        progress: called with the share done (0 to 1) and a line to show: steps, epochs, rollbacks.

    Returns:
        The network after the last step (or the best or the averaged one, as the plan says), and the
        epochs.

    Raises:
        ValueError: when the corpus is too short for one step of the batch, or the plan needs what
            is not given.
        CheckpointRefused: when the checkpoint is damaged or of another run.
        TrainingDiverged: a `FloatingPointError`; when the loss is no number after `MAX_SETBACKS`
            rollbacks.
    """
    # 1. What was asked for can be done.
    _check(plan, learner, valid)
    group = ranks()
    columns = group.columns(plan.batch)
    device = device_of(network)
    streams = in_streams(tokens, plan.batch)[:, columns].contiguous().to(device)  # (rows, B)
    segments = (len(streams) - 1) // plan.steps
    if segments < 1:
        raise ValueError(
            f"the corpus has {len(tokens)} tokens; a batch of {plan.batch} x {plan.steps} steps "
            "needs "
            f"at least {plan.batch * (plan.steps + 1)}"
        )
    total = max(1, round(segments * plan.epochs))
    half = plan.bfloat16 and bfloat16_pays(device)
    configuration = configuration_of(network, tokens, plan, teacher, learner, group.world)

    # 2. A fresh run, or the one that the checkpoint holds.
    torch.manual_seed(plan.seed)
    run = Run(network, plan, learner, group)
    if group.rank:
        torch.manual_seed(plan.seed + group.rank)  # masks of its own for its own streams
    if checkpoint is not None and checkpoint.exists():
        run.restore(load_training_checkpoint(checkpoint, configuration))
    else:
        run.rewind(teacher)
    good, rate = run.snapshot(), float(run.optimizer.param_groups[0]["lr"])
    started, last_saved = time.monotonic() - run.spent, time.monotonic()

    while True:
        # 3. The clock (the first process's) and the learning rate.
        now = time.monotonic()
        run.spent, due = group.agreed(
            now - started, float(now - last_saved > 60 * plan.checkpoint_minutes)
        )
        done = run.step / total if plan.minutes is None else run.spent / (60 * plan.minutes)
        if done >= 1:
            break
        position, epoch = run.step % segments, run.step // segments
        stage = epoch if plan.minutes is None else int(done * plan.epochs)
        rate = plan.learning_rate * 0.5 ** len(run.setbacks) * share_of_peak(plan, done, stage)
        set_learning_rate(run.optimizer, rate)
        if position == 0:
            run.rewind(teacher)
            if (
                plan.optimizer == "asgd"
                and epoch + 1 >= plan.averaging_epoch
                and not averages(run.optimizer)
            ):
                start_averaging(run.optimizer)

        # 4. The loss of the next segment, from the state that the last one left.
        row = position * plan.steps
        inputs, labels = (
            streams[row : row + plan.steps],
            streams[row + 1 : row + plan.steps + 1],
        )  # (T, B)
        substituted = None if learner is None else learner.substituted()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            if substituted is None:
                logits, run.state = run.network(inputs, detach(run.state))
            else:
                logits, run.state = functional_call(
                    run.network, substituted, (inputs, detach(run.state))
                )
        guide = None
        if teacher is not None and run.teacher_state is not None:
            with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
                guide, run.teacher_state = teacher(inputs, run.teacher_state)
        loss, hard = loss_of(logits, labels, guide, plan)
        penalty = None if learner is None else learner.penalty()
        if penalty is not None:
            loss = loss + penalty

        # 5. The gradient, of the whole batch; the clip acts on loss and penalty together, as in the
        # paper.
        run.clear_gradients()
        loss.backward()  # type: ignore[no-untyped-call]
        whole = loss.detach().clone()
        group.average([*run.gradients(), whole, hard])
        norm = nn.utils.clip_grad_norm_(run.network.parameters(), plan.clip)
        sound = math.isfinite(float(whole)) and math.isfinite(float(norm))

        # 6. The step, unless it would spoil the weights.
        if sound:
            run.advance(rate, float(hard), time.monotonic() - now)
        ended = run.step % segments == 0 or (plan.minutes is None and run.step == total)
        if sound and (ended or due):
            sound = run.is_finite()
        if not sound:
            _roll_back(run, good, float(whole), rate, done, progress if group.first else None)
            started = time.monotonic() - run.spent
            continue
        if progress is not None and group.first and run.step % PROGRESS_INTERVAL == 0:
            progress(
                done, f"step {run.step}, training perplexity {perplexity_of(run.mean_loss()):.1f}"
            )

        # 7. The epoch's end: judge, let the learner remove what is dead, keep the state to come
        # back to.
        if ended:
            record = _end_epoch(run, valid, rate)
            run.spent = time.monotonic() - started
            good = run.snapshot()
            if progress is not None and group.first:
                progress(
                    min(run.step / total if plan.minutes is None else done, 1.0), record.line()
                )
        if checkpoint is not None and (ended or due):
            content = good if ended else run.snapshot()
            if group.first:
                save_training_checkpoint(checkpoint, configuration, content)
            last_saved = time.monotonic()

    # 8. The clock may have ended the run within an epoch.
    if not run.is_finite():
        run.restore(good)
    if run.steps:
        record = _end_epoch(run, valid, rate)
        if progress is not None and group.first:
            progress(1.0, record.line())
    return TrainingOutcome(run.result(), tuple(run.records), dict(run.kept))


def _check(plan: TrainingPlan, learner: Learner | None, valid: Tensor | None) -> None:
    if valid is None and (plan.optimizer == "nt_asgd" or plan.keep == "best"):
        asked = "the optimizer 'nt_asgd'" if plan.optimizer == "nt_asgd" else "keep='best'"
        raise ValueError(f"{asked} judges every epoch on a validation text, and none is given")
    if valid is not None and len(valid) < 2:
        raise ValueError(f"the validation text has {len(valid)} tokens; at least 2 are needed")
    if learner is not None and plan.keep == "best":
        raise ValueError(
            "keep='best' would return a network from before its components were removed; take "
            "'last'"
        )


def _end_epoch(run: Run, valid: Tensor | None, rate: float) -> EpochRecord:
    """Validates (the averaged weights, where there are any), records, and shrinks if the learner says so."""
    evaluated = math.nan
    if valid is not None:
        with averaged_weights(run.network, run.optimizer):
            judged_network = (
                run.network if run.learner is None else run.learner.evaluation_network(run.network)
            )
            own = perplexity(judged_network, valid) if run.ranks.first else math.nan
            (evaluated,) = run.ranks.agreed(own)
            run.remember_best(evaluated)
        run.network.train()
    record = EpochRecord(
        epoch=len(run.records) + 1,
        seconds=run.seconds,
        steps=run.steps,
        units=dict(run.network.declaration().axes),
        learning_rate=rate,
        training_perplexity=perplexity_of(run.mean_loss()),
        valid_perplexity=None if valid is None else evaluated,
    )
    run.records.append(record)
    run.loss, run.steps, run.seconds = 0.0, 0, 0.0
    if run.plan.optimizer == "nt_asgd" and not averages(run.optimizer):
        judgements = [
            each.valid_perplexity for each in run.records if each.valid_perplexity is not None
        ]
        if has_stalled(judgements, run.plan.patience):
            start_averaging(run.optimizer)
    keep = None if run.learner is None else run.learner.after_epoch(evaluated)
    if keep is not None:
        run.remove(keep)
    return record


def _roll_back(
    run: Run,
    good: dict[str, object],
    loss: float,
    rate: float,
    done: float,
    progress: Progress | None,
) -> None:
    """Takes the run back to the last good weights with half the step, or gives up.

    Raises:
        TrainingDiverged: when that was done often enough.
    """
    step, spent, setbacks = run.step, run.spent, run.setbacks
    run.restore(good)
    what = (
        f"the loss is {loss}" if not math.isfinite(loss) else "a gradient or a weight is not finite"
    )
    line = f"{what} at step {step} with learning rate {rate:.3g}; back to step {run.step}"
    if len(setbacks) == MAX_SETBACKS:
        story = [*setbacks, line]
        raise TrainingDiverged(
            f"the training diverges even with {0.5**MAX_SETBACKS:g} of the learning rate, after "
            f"{MAX_SETBACKS} rollbacks; "
            f"lower the learning rate (or the clip) and train anew. {'; '.join(story)}",
            story,
            best=TrainingOutcome(run.result(), tuple(run.records)),
        )
    run.spent, run.setbacks = spent, [*setbacks, f"{line} and half the learning rate"]
    if progress is not None:
        progress(done, f"rolled back: {run.setbacks[-1]}")
