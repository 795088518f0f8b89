"""Trains BiDAF: Adam on the cross-entropy of start and end, batches of about equal lengths, averaged weights.

What is evaluated and kept is the exponential moving average of the weights, as in the paper's code (PAPER 3.3). Of the
epochs the one is kept whose average answers the validation questions best.

A run can be stopped at any time and continues from its last checkpoint as if it had not been: weights, average, both
moments of Adam, random state and position are in it, and an epoch's batches follow from the seed.

Legend: B batch, T tokens of a context.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compress.errors import CompressError
from compress.networks.bidaf import Bidaf
from compress.questions.evaluation import evaluate
from compress.questions.examples import Questions, batches
from compress.training.checkpoints import Configuration, read_checkpoint, write_checkpoint

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class QuestionPlan:
    """How BiDAF is trained.

    Attributes:
        epochs: over the training questions.
        batch: B.
        rate: Adam's learning rate.
        final_rate: where the rate goes, in a line over the last half of the run; the same as `rate`: constant.
        clip: largest norm of the gradient.
        average: decay of the moving average of the weights, per step; it starts faster.
        longest_context: examples with more tokens in the context are not trained on.
        longest_question: likewise.
        validation: how many validation questions are answered after each epoch, spread evenly over the set.
        checkpoint_minutes: between checkpoints; one is written after each epoch, too.
        seed: of the order of examples and of dropout.
    """

    epochs: int = 10
    batch: int = 32
    rate: float = 1e-3
    final_rate: float = 1e-3
    clip: float = 5.0
    average: float = 0.999
    longest_context: int = 400
    longest_question: int = 30
    validation: int = 1000
    checkpoint_minutes: float = 5.0
    seed: int = 0


@dataclass(frozen=True)
class QuestionEpoch:
    """What an epoch came to: losses in nats per question, scores 0 to 100 of the averaged weights."""

    epoch: int
    training_loss: float
    validation_loss: float
    em: float
    f1: float
    seconds: float


@dataclass(frozen=True)
class TrainedReader:
    """The best averaged network, in evaluation mode, and the curve."""

    network: Bidaf
    epochs: list[QuestionEpoch]
    best: int


def train_reader(
    network: Bidaf,
    training: Questions,
    validation: Questions,
    plan: QuestionPlan,
    *,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> TrainedReader:
    """Trains `network` in place.

    Args:
        network: its dropout acts.
        training: examples without a span of tokens, and longer ones than the plan's, are left out.
        validation: with golden answers.
        plan: see there.
        checkpoint: where the run is written, and taken up from when it is there.
        progress: called with the share done and a line.

    Returns:
        The best epoch's averaged weights.

    Raises:
        ValueError: when no training example is left.
        CheckpointRefused: when the checkpoint is damaged or of another run.
        CompressError: when the loss is not finite.
    """
    run = _Run(network, training, validation, plan, progress or (lambda done, line: None))
    if checkpoint is not None and checkpoint.exists():
        run.restore(read_checkpoint(checkpoint, run.configuration))
    saved = time.monotonic()
    while run.epoch < plan.epochs:
        # 1. The epoch's batches, the same whenever the run comes back to them.
        order = run.batches()
        while run.at < len(order):
            # 2. One step.
            run.step(order[run.at], len(order))
            if checkpoint is not None and time.monotonic() - saved > 60 * plan.checkpoint_minutes:
                write_checkpoint(checkpoint, run.configuration, run.snapshot())
                saved = time.monotonic()
                run.tell(run.done(len(order)), f"saved behind step {run.at:,} of {len(order):,}, {run.standing}")
        # 3. The average is judged, and the epoch closed.
        run.close_epoch()
        if checkpoint is not None:
            write_checkpoint(checkpoint, run.configuration, run.snapshot())
            saved = time.monotonic()
    return run.finished()


class _Run:
    """The state of a training run."""

    def __init__(
        self, network: Bidaf, training: Questions, validation: Questions, plan: QuestionPlan, tell: Progress
    ) -> None:
        self.network, self.training, self.validation, self.plan, self.tell = network, training, validation, plan, tell
        self.learnt_from = [
            index
            for index, example in enumerate(training.examples)
            if example.span is not None
            and len(example.context_row) <= plan.longest_context
            and len(example.question_row) <= plan.longest_question
        ]
        if not self.learnt_from:
            raise ValueError("no training question has an answer that is a span of tokens of a short enough context")
        count = len(validation.examples)
        self.judged_on = sorted({int(each) for each in np.linspace(0, count - 1, min(count, plan.validation))})
        torch.manual_seed(plan.seed)
        self.average = copy.deepcopy(network).eval()
        self.best = copy.deepcopy(self.average)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=plan.rate)
        self.epochs: list[QuestionEpoch] = []
        self.epoch = self.at = self.steps = 0
        self.loss, self.seconds = 0.0, 0.0

    @property
    def configuration(self) -> Configuration:
        """What a run resumed must share with the run that was stopped."""
        free = {"checkpoint_minutes", "epochs"} if self.plan.rate == self.plan.final_rate else {"checkpoint_minutes"}
        told = {f"plan.{name}": str(value) for name, value in asdict(self.plan).items() if name not in free}
        digest = hashlib.sha256()
        for index in self.learnt_from:
            digest.update(self.training.examples[index].id.encode() + b"\n")
        return told | {
            "network": str(self.network.spec),
            "dropout": str(self.network.dropout),
            "questions": f"{len(self.learnt_from):,}, {digest.hexdigest()[:12]}",
        }

    def batches(self) -> list[list[int]]:
        """Of this epoch."""
        lengths = [len(self.training.examples[index].context_row) for index in self.learnt_from]
        generator = np.random.default_rng([self.plan.seed, self.epoch])
        return [[self.learnt_from[place] for place in each] for each in batches(lengths, self.plan.batch, generator)]

    def step(self, chosen: list[int], steps: int) -> None:
        """One batch; `steps` is how many an epoch has."""
        began = time.monotonic()
        self.network.train()
        start, end = self.network.distinct(*self.training.distinct(chosen))
        first, last = self.training.spans(chosen)
        loss = nn.functional.nll_loss(start, first) + nn.functional.nll_loss(end, last)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip)
        if not torch.isfinite(norm):
            raise CompressError(f"the loss is not finite in epoch {self.epoch + 1}; train with a smaller rate")
        late = max(0.0, 2 * self.done(steps) - 1)
        self.optimizer.param_groups[0]["lr"] = (1 - late) * self.plan.rate + late * self.plan.final_rate
        self.optimizer.step()
        self.steps, self.at = self.steps + 1, self.at + 1
        with torch.no_grad():
            # As TensorFlow's average: early on the decay is smaller, so that the first weights are soon forgotten.
            weight = 1 - min(self.plan.average, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), weight)
        self.loss += float(loss.detach())
        self.seconds += time.monotonic() - began
        self.tell(self.done(steps), f"step {self.at:,} of {steps:,}, {self.standing}")

    def done(self, steps: int) -> float:
        """Share of the whole run."""
        return (self.epoch + self.at / steps) / self.plan.epochs

    @property
    def standing(self) -> str:
        """How far and how well, told to people."""
        return f"epoch {self.epoch + 1}, loss {self.loss / max(1, self.at):.3f}"

    def close_epoch(self) -> None:
        """Judges the average and keeps it if it is the best so far."""
        found = evaluate(self.average, self.validation, self.judged_on)
        record = QuestionEpoch(
            self.epoch + 1, self.loss / self.at, found.loss, found.scores.em, found.scores.f1, self.seconds
        )
        if record.f1 > max((each.f1 for each in self.epochs), default=-1.0):
            self.best.load_state_dict(self.average.state_dict())
        self.epochs.append(record)
        self.epoch, self.at, self.loss, self.seconds = self.epoch + 1, 0, 0.0, 0.0
        self.tell(
            self.epoch / self.plan.epochs,
            f"epoch {self.epoch}: training loss {record.training_loss:.3f}, validation loss {record.validation_loss:.3f}, "
            f"EM {record.em:.2f}, F1 {record.f1:.2f} of {found.scores.questions:,} questions, {record.seconds:.0f} s",
        )

    def snapshot(self) -> dict[str, Any]:
        """Plain containers of tensors, numbers and strings."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "epochs": [asdict(each) for each in self.epochs],
            "position": [self.epoch, self.at, self.steps],
            "sums": [self.loss, self.seconds],
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Continues where `snapshot` was taken."""
        self.network.load_state_dict(content["network"])
        self.average.load_state_dict(content["average"])
        self.best.load_state_dict(content["best"])
        self.optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["random"])
        self.epochs = [QuestionEpoch(**each) for each in content["epochs"]]
        self.epoch, self.at, self.steps = content["position"]
        self.loss, self.seconds = content["sums"]
        self.tell(self.epoch / self.plan.epochs, f"continued at step {self.at:,} of epoch {self.epoch + 1}")

    def finished(self) -> TrainedReader:
        """The best average."""
        best = max(self.epochs, key=lambda each: each.f1).epoch
        return TrainedReader(self.best.eval(), list(self.epochs), best)
