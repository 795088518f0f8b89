"""The training loop of language models: truncated back-propagation with carried state, resumable.

It trains from scratch (`teacher=None`) and fine-tunes a pruned model by distilling from the
original. A learner adds what makes components removable; they are removed between epochs, so that
later epochs cost less.

A run whose loss stops being finite goes back to the start of its epoch and continues with half the
learning rate.

Legend: B batch, T steps of a segment, V vocabulary, N tokens of the corpus.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
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
from isslim.compress.progress import ProgressCallback
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
from isslim.compress.training.plan import TrainingPlan
from isslim.compress.training.ranks import ranks
from isslim.compress.training.schedules import share_of_peak
from isslim.compress.training.sparsity import sparsity_of
from isslim.compress.training.state import detach

MAX_SETBACKS = 3
PROGRESS_INTERVAL = 20


def train(  # noqa: PLR0913 - each option is independent of the others and named by its callers
    network: LanguageModel,
    tokens: Tensor,
    plan: TrainingPlan,
    *,
    teacher: LanguageModel | None = None,
    learner: Learner | None = None,
    valid: Tensor | None = None,
    checkpoint: Path | None = None,
    progress: ProgressCallback | None = None,
) -> TrainingOutcome:
    """Trains a copy of `network`.

    In a process of a `torchrun` group it trains together with the others, each on its share of the
    streams; all return the same network, and only the first writes checkpoints and calls
    `progress`.

    Args:
        network: the model to start from; it is left as it is.
        tokens: int64 (N,), the corpus as one stream.
        plan: the schedule.
        teacher: the model to distil from, with the same vocabulary, in evaluation mode.
        learner: what is added to plain training.
        valid: int64 (N,), validation text, evaluated after every epoch.
        checkpoint: where to resume from if it exists, and to write every `checkpoint_minutes` and
            after every epoch.
        progress: called with the share done (0 to 1) and a line to show: steps, epochs, rollbacks.

    Returns:
        The network after the last step (or the best or the averaged one, as the plan asks), and the
        epochs.

    Raises:
        ValueError: when the corpus is too short for one step of the batch, or the plan needs what
            is not given.
        CheckpointRefused: when the checkpoint is damaged or of another run.
        TrainingDiverged: a `FloatingPointError`; when the loss is not finite after `MAX_SETBACKS`
            rollbacks.
    """
    _check(plan, learner, valid)
    options = _Options(teacher, learner, valid, checkpoint, progress)
    training = _Training(network, tokens, plan, options)
    while (step := training.next_step()) is not None:
        training.take(step)
    return training.finish()


@dataclass(frozen=True)
class _Options:
    """The options of `train`."""

    teacher: LanguageModel | None
    learner: Learner | None
    valid: Tensor | None
    checkpoint: Path | None
    progress: ProgressCallback | None


@dataclass(frozen=True)
class _Step:
    """The next step of a run.

    Attributes:
        began: time on the monotonic clock, in seconds.
        done: share of the run that lies before it, 0 to 1.
        segment: its position in the epoch.
        rate: the learning rate.
        is_save_due: whether the run is to be saved after it, by the clock.
    """

    began: float
    done: float
    segment: int
    rate: float
    is_save_due: bool


class _Training:
    """A run in the loop, and all that stays the same while it lasts."""

    def __init__(
        self, network: LanguageModel, tokens: Tensor, plan: TrainingPlan, options: _Options
    ) -> None:
        self.plan, self.options, self.group = plan, options, ranks()
        self.device = device_of(network)
        columns = self.group.columns(plan.batch)
        streams = in_streams(tokens, plan.batch)[:, columns]
        self.streams = streams.contiguous().to(self.device)  # (rows, B)
        self.segments = (len(self.streams) - 1) // plan.steps
        if self.segments < 1:
            raise ValueError(
                f"the corpus has {len(tokens)} tokens; a batch of {plan.batch} x {plan.steps} "
                f"steps needs at least {plan.batch * (plan.steps + 1)}"
            )
        self.total = max(1, round(self.segments * plan.epochs))
        self.half = plan.bfloat16 and bfloat16_pays(self.device)
        self.configuration = configuration_of(
            network, tokens, plan, options.teacher, options.learner, self.group.world
        )
        self.run = self._started(network)
        self.good = self.run.snapshot()
        self.rate = float(self.run.optimizer.param_groups[0]["lr"])
        self.started = time.monotonic() - self.run.spent
        self.last_saved = time.monotonic()

    def _started(self, network: LanguageModel) -> Run:
        """A fresh run, or the one that the checkpoint holds."""
        torch.manual_seed(self.plan.seed)
        run = Run(network, self.plan, self.options.learner, self.group)
        if self.group.rank:
            # The processes share their initial weights, but not the dropout masks of their streams.
            torch.manual_seed(self.plan.seed + self.group.rank)
        checkpoint = self.options.checkpoint
        if checkpoint is not None and checkpoint.exists():
            run.restore(load_training_checkpoint(checkpoint, self.configuration))
        else:
            run.rewind(self.options.teacher)
        return run

    def next_step(self) -> _Step | None:
        """Sets the learning rate of the next step, and the states at the start of an epoch.

        Returns:
            None when the run is done.
        """
        run, plan, now = self.run, self.plan, time.monotonic()
        # The first process's clock decides for all, so that they end and save together.
        run.spent, due = self.group.agreed(
            now - self.started, float(now - self.last_saved > 60 * plan.checkpoint_minutes)
        )
        done = self._done()
        if done >= 1:
            return None
        segment, epoch = run.step % self.segments, run.step // self.segments
        stage = epoch if plan.minutes is None else int(done * plan.epochs)
        halvings = 0.5 ** len(run.setbacks)
        self.rate = plan.learning_rate * halvings * share_of_peak(plan, done, stage)
        set_learning_rate(run.optimizer, self.rate)
        if segment == 0:
            run.rewind(self.options.teacher)
            is_averaging = plan.optimizer == "asgd" and epoch + 1 >= plan.averaging_epoch
            if is_averaging and not averages(run.optimizer):
                start_averaging(run.optimizer)
        return _Step(now, done, segment, self.rate, bool(due))

    def take(self, step: _Step) -> None:
        """Trains on one segment; where that would spoil the weights, the run is rolled back."""
        run = self.run
        loss, label_loss = self._losses(step.segment)
        mean_loss, norm = self._backward(loss, label_loss)
        is_sound = math.isfinite(mean_loss) and math.isfinite(norm)
        if is_sound:
            run.advance(step.rate, float(label_loss), time.monotonic() - step.began)
        is_last = self.plan.minutes is None and run.step == self.total
        is_epoch_end = run.step % self.segments == 0 or is_last
        if is_sound and (is_epoch_end or step.is_save_due):
            is_sound = run.is_finite()
        if not is_sound:
            _roll_back(run, self.good, mean_loss, step)
            self._report(step.done, f"rolled back: {run.setbacks[-1]}")
            self.started = time.monotonic() - run.spent
            return
        if run.step % PROGRESS_INTERVAL == 0:
            perplexity_so_far = perplexity_of(run.mean_loss())
            self._report(step.done, f"step {run.step}, training perplexity {perplexity_so_far:.1f}")
        if is_epoch_end:
            self._close_epoch(step)
        if is_epoch_end or step.is_save_due:
            self._save(self.good if is_epoch_end else None)

    def finish(self) -> TrainingOutcome:
        """The outcome; the clock may have ended the run within an epoch, which is then closed."""
        run = self.run
        if not run.is_finite():
            run.restore(self.good)
        if run.steps:
            record = _end_epoch(run, self.options.valid, self.rate)
            self._report(1.0, record.line())
        return TrainingOutcome(run.result(), tuple(run.records), dict(run.kept))

    def _losses(self, segment: int) -> tuple[Tensor, Tensor]:
        """The loss to minimise and that of the labels, with the states of the last segment."""
        run, learner, teacher = self.run, self.options.learner, self.options.teacher
        row = segment * self.plan.steps
        inputs = self.streams[row : row + self.plan.steps]  # (T, B)
        labels = self.streams[row + 1 : row + self.plan.steps + 1]  # (T, B)
        substituted = None if learner is None else learner.substituted()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            if substituted is None:
                logits, run.state = run.network(inputs, detach(run.state))
            else:
                logits, run.state = functional_call(
                    run.network, substituted, (inputs, detach(run.state))
                )
        teacher_logits = None
        if teacher is not None and run.teacher_state is not None:
            precision = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half)
            with torch.no_grad(), precision:
                teacher_logits, run.teacher_state = teacher(inputs, run.teacher_state)
        loss, label_loss = loss_of(logits, labels, teacher_logits, self.plan)
        penalty = None if learner is None else learner.penalty()
        return loss if penalty is None else loss + penalty, label_loss

    def _backward(self, loss: Tensor, label_loss: Tensor) -> tuple[float, float]:
        """Computes the clipped gradient, averaged over all processes, as is `label_loss` in place.

        The clip acts on loss and penalty together, as in the paper.

        Returns:
            The averaged loss, and the norm of the gradient before the clip.
        """
        run = self.run
        run.clear_gradients()
        loss.backward()  # type: ignore[no-untyped-call]
        whole = loss.detach().clone()  # `label_loss` may share its memory
        self.group.average([*run.gradients(), whole, label_loss])
        norm = nn.utils.clip_grad_norm_(run.network.parameters(), self.plan.clip)
        return float(whole), float(norm)

    def _close_epoch(self, step: _Step) -> None:
        """Evaluates, removes what the learner gives up, and keeps the state to roll back to."""
        run = self.run
        record = _end_epoch(run, self.options.valid, step.rate)
        run.spent = time.monotonic() - self.started
        self.good = run.snapshot()
        self._report(min(self._done(), 1.0), record.line())

    def _done(self) -> float:
        """The share of the run that is done, 0 to 1."""
        plan, step = self.plan, self.run.step
        if plan.minutes is None:
            return step / self.total
        by_clock = self.run.spent / (60 * plan.minutes)
        if step < plan.least_steps:
            most = plan.minutes if plan.most_minutes is None else plan.most_minutes
            by_clock = min(by_clock, max(step / plan.least_steps, self.run.spent / (60 * most)))
        return (
            by_clock
            if plan.most_epochs is None
            else max(by_clock, step / (self.segments * plan.most_epochs))
        )

    def _save(self, content: dict[str, object] | None) -> None:
        """Writes the checkpoint, if one is asked for: a snapshot, or None for a new one."""
        checkpoint = self.options.checkpoint
        if checkpoint is None:
            return
        if content is None:
            content = self.run.snapshot()
        if self.group.first:
            save_training_checkpoint(checkpoint, self.configuration, content)
        self.last_saved = time.monotonic()

    def _report(self, done: float, line: str) -> None:
        """Calls `progress`, in the first process only."""
        if self.options.progress is not None and self.group.first:
            self.options.progress(done, line)


def _check(plan: TrainingPlan, learner: Learner | None, valid: Tensor | None) -> None:
    if valid is None and (plan.optimizer == "nt_asgd" or plan.keep == "best"):
        asked = "the optimizer 'nt_asgd'" if plan.optimizer == "nt_asgd" else "keep='best'"
        raise ValueError(f"{asked} evaluates every epoch on a validation text, and none is given")
    if valid is not None and len(valid) < 2:
        raise ValueError(f"the validation text has {len(valid)} tokens; at least 2 are needed")
    if learner is not None and plan.keep == "best":
        raise ValueError(
            "keep='best' would return a network from before its components were removed; take "
            "'last'"
        )


def _end_epoch(run: Run, valid: Tensor | None, rate: float) -> EpochRecord:
    """Validates, records the epoch, and removes what the learner gives up.

    Averaged weights, where there are some, are validated in place of the current ones.
    """
    evaluated = math.nan
    if valid is not None:
        with averaged_weights(run.network, run.optimizer):
            validated = (
                run.network if run.learner is None else run.learner.evaluation_network(run.network)
            )
            own = perplexity(validated, valid) if run.ranks.first else math.nan
            (evaluated,) = run.ranks.agreed(own)
            run.remember_best(evaluated)
        run.network.train()
    living = None if run.learner is None else (run.learner.living() or {})
    sparsity = sparsity_of(run.network, living)
    record = EpochRecord(
        epoch=len(run.records) + 1,
        seconds=run.seconds,
        steps=run.steps,
        units=dict(run.network.declaration().axes),
        learning_rate=rate,
        training_perplexity=perplexity_of(run.mean_loss()),
        valid_perplexity=None if valid is None else evaluated,
        removed=sparsity.removed,
        group_norms=sparsity.group_norms,
    )
    run.records.append(record)
    run.loss, run.steps, run.seconds = 0.0, 0, 0.0
    if run.plan.optimizer == "nt_asgd" and not averages(run.optimizer):
        validations = [
            each.valid_perplexity for each in run.records if each.valid_perplexity is not None
        ]
        if has_stalled(validations, run.plan.patience):
            start_averaging(run.optimizer)
    keep = None if run.learner is None else run.learner.after_epoch(evaluated)
    if keep is not None:
        run.remove(keep)
    return record


def _roll_back(run: Run, good: dict[str, object], loss: float, step: _Step) -> None:
    """Restores the last good state and halves the learning rate.

    Raises:
        TrainingDiverged: after `MAX_SETBACKS` rollbacks.
    """
    at, spent, setbacks = run.step, run.spent, run.setbacks
    run.restore(good)
    cause = "a gradient or a weight is not finite" if math.isfinite(loss) else f"the loss is {loss}"
    line = f"{cause} at step {at} with learning rate {step.rate:.3g}; back to step {run.step}"
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
