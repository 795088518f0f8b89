"""Trains BiDAF: Adam on the cross-entropy of start and end, batches of about equal lengths, averaged weights.

With a teacher its distributions of start and end are learnt from as well as the answers, or instead
of them where there are none; with a learner the network may shrink at the end of an epoch.

What is evaluated and kept is the exponential moving average of the weights, as in the paper's code
(PAPER 3.3). Of the epochs the one is kept whose average answers the validation questions best.

A run can be stopped at any time and continues from its last checkpoint as if it had not been:
weights, average, both moments of Adam, random state and position are in it, and an epoch's batches
follow from the seed.

Legend: B batch, T tokens of a context.
"""

from __future__ import annotations

import copy
import hashlib
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isslim.compress.devices import device_of, random_state, restore_random_state
from isslim.compress.errors import CompressError
from isslim.compress.kinds.questions.evaluation import evaluate
from isslim.compress.kinds.questions.examples import QuestionBatch, Questions, batches
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.plan import (
    Progress,
    QuestionEpoch,
    QuestionPlan,
    ReaderTrainingOutcome,
)
from isslim.compress.pruning.axes import Keep, select_components
from isslim.compress.training.checkpoints import (
    Configuration,
    digest_of,
    load_training_checkpoint,
    save_training_checkpoint,
)
from isslim.compress.training.hooks import WeightLearner
from isslim.compress.training.shrinking import shrink


def train_reader(
    network: Bidaf,
    training: Questions,
    validation: Questions,
    plan: QuestionPlan,
    *,
    teacher: Bidaf | None = None,
    learner: WeightLearner | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> ReaderTrainingOutcome:
    """Trains `network` in place, as long as nothing is removed.

    Args:
        network: its dropout acts; training takes place where it is.
        training: longer examples than the plan's are left out, and without a teacher those without
            a span of tokens.
        validation: with golden answers.
        plan: see there.
        teacher: in evaluation mode; learnt from beside the answers.
        learner: takes components away; of those that work on weights alone
            (`isslim/compress/training/learners/proximal.py`).
        checkpoint: where the run is written, and taken up from when it is there.
        progress: called with the share done and a line.

    Returns:
        The averaged weights that the plan keeps.

    Raises:
        ValueError: when no training example is left, or the best epoch is to be kept of a network
            that shrinks.
        CheckpointRefused: when the checkpoint is damaged or of another run.
        CompressError: when the loss is not finite.
    """
    if learner is not None and plan.keep == "best":
        raise ValueError(
            "keep='best' would return a network from before its components were removed; take "
            "'last'"
        )
    run = _Run(
        network, training, validation, plan, progress or (lambda done, line: None), teacher, learner
    )
    if checkpoint is not None and checkpoint.exists():
        run.restore(load_training_checkpoint(checkpoint, run.configuration))
    saved = time.monotonic()
    while run.done() < 1:
        # 1. The epoch's batches, the same whenever the run comes back to them.
        order = run.batches()
        while run.at < len(order) and run.done() < 1:
            # 2. One step.
            run.step(order[run.at])
            if checkpoint is not None and time.monotonic() - saved > 60 * plan.checkpoint_minutes:
                save_training_checkpoint(checkpoint, run.configuration, run.snapshot())
                saved = time.monotonic()
                run.progress(
                    run.done(), f"saved behind step {run.at:,} of {len(order):,}, {run.standing}"
                )
        # 3. The average is judged, and the epoch closed.
        run.close_epoch()
        if checkpoint is not None:
            save_training_checkpoint(checkpoint, run.configuration, run.snapshot())
            saved = time.monotonic()
    return run.finished()


class _Run:
    """The state of a training run."""

    def __init__(
        self,
        network: Bidaf,
        training: Questions,
        validation: Questions,
        plan: QuestionPlan,
        progress: Progress,
        teacher: Bidaf | None,
        learner: WeightLearner | None,
    ) -> None:
        self.network, self.training, self.validation, self.plan, self.progress = (
            network,
            training,
            validation,
            plan,
            progress,
        )
        self.teacher, self.learner = teacher, learner
        self.whole, self.kept = str(network.spec), dict[str, NDArray[np.int64]]()
        self.learnt_from = [
            index
            for index, example in enumerate(training.examples)
            if (example.span is not None or teacher is not None)
            and len(example.context_row) <= plan.longest_context
            and len(example.question_row) <= plan.longest_question
        ]
        if not self.learnt_from:
            raise ValueError(
                "no training question has an answer that is a span of tokens of a short enough "
                "context"
            )
        count = len(validation.examples)
        self.judged_on = sorted(
            {int(each) for each in np.linspace(0, count - 1, min(count, plan.validation))}
        )
        torch.manual_seed(plan.seed)
        self.average = copy.deepcopy(network).eval()
        self.best = copy.deepcopy(self.average)
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(network.parameters(), lr=plan.rate)
        self.epochs: list[QuestionEpoch] = []
        self.epoch = self.at = self.steps = 0
        self.loss, self.seconds, self.spent = 0.0, 0.0, 0.0
        self.steps_of_an_epoch = -(-len(self.learnt_from) // plan.batch)
        if learner is not None:
            learner.attach(network)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return device_of(self.network)

    @property
    def configuration(self) -> Configuration:
        """What a run resumed must share with the run that was stopped."""
        free = (
            {"checkpoint_minutes", "epochs"}
            if self.plan.rate == self.plan.final_rate
            else {"checkpoint_minutes"}
        )
        description = {
            f"plan.{name}": str(value)
            for name, value in asdict(self.plan).items()
            if name not in free
        }
        digest = hashlib.sha256()
        for index in self.learnt_from:
            digest.update(self.training.examples[index].id.encode() + b"\n")
        return description | {
            "network": self.whole,
            "teacher": "none" if self.teacher is None else digest_of(self.teacher.arrays()),
            "learner": "none" if self.learner is None else type(self.learner).__name__,
            "dropout": str(self.network.dropout),
            "questions": f"{len(self.learnt_from):,}, {digest.hexdigest()[:12]}",
        }

    def batches(self) -> list[list[int]]:
        """Of this epoch."""
        lengths = [len(self.training.examples[index].context_row) for index in self.learnt_from]
        generator = np.random.default_rng([self.plan.seed, self.epoch])
        return [
            [self.learnt_from[place] for place in each]
            for each in batches(lengths, self.plan.batch, generator)
        ]

    def step(self, chosen: list[int]) -> None:
        """One batch."""
        began = time.monotonic()
        self.network.train()
        inputs = self.training.distinct(chosen, self.device)
        vectors, *others = inputs
        start, end = self.network.distinct(self._shown(vectors), *others)
        loss = self._loss(chosen, inputs, start, end)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip)
        if not torch.isfinite(norm):
            raise CompressError(
                f"the loss is not finite in epoch {self.epoch + 1}; train with a smaller rate"
            )
        late = max(0.0, 2 * self.done() - 1)
        self.optimizer.param_groups[0]["lr"] = (
            1 - late
        ) * self.plan.rate + late * self.plan.final_rate
        self.optimizer.step()
        if self.learner is not None:
            self.learner.after_step(float(self.optimizer.param_groups[0]["lr"]))
        self.steps, self.at = self.steps + 1, self.at + 1
        with torch.no_grad():
            # As TensorFlow's average: early on the decay is smaller, so that the first weights are
            # soon forgotten.
            weight = 1 - min(self.plan.average, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.network.parameters()), weight
            )
        self.loss += float(loss.detach())
        took = time.monotonic() - began
        self.seconds, self.spent = self.seconds + took, self.spent + took
        self.progress(
            self.done(), f"step {self.at:,} of {self.steps_of_an_epoch:,}, {self.standing}"
        )

    def _shown(self, vectors: Tensor) -> Tensor:
        """The words' vectors, some of them zeros, as those of words without a vector are."""
        if self.plan.word_dropout == 0:
            return vectors
        return vectors * (
            torch.rand(len(vectors), 1, device=vectors.device) >= self.plan.word_dropout
        )

    def done(self) -> float:
        """Share of the whole run."""
        if self.plan.minutes is not None:
            return self.spent / (60 * self.plan.minutes)
        return (self.epoch + self.at / self.steps_of_an_epoch) / self.plan.epochs

    def _loss(self, chosen: list[int], inputs: QuestionBatch, start: Tensor, end: Tensor) -> Tensor:
        """Of the answers, where there are some, and of the teacher's distributions: nats per question."""
        labelled = [
            row
            for row, index in enumerate(chosen)
            if self.training.examples[index].span is not None
        ]
        hard = start.new_zeros(())
        if labelled:
            first, last = (
                each.to(self.device)
                for each in self.training.spans([chosen[row] for row in labelled])
            )
            hard = nn.functional.nll_loss(start[labelled], first) + nn.functional.nll_loss(
                end[labelled], last
            )
        if self.teacher is None:
            return hard
        with torch.no_grad():
            guides = self.teacher.distinct(*inputs)
        # Padding has the probability zero with the teacher, and a log-probability that is finite
        # here.
        soft = -sum(
            (guide.exp() * own).sum(dim=1).mean()
            for guide, own in zip(guides, (start, end), strict=True)
        )
        share = self.plan.soft * len(labelled) / len(chosen) + (1 - len(labelled) / len(chosen))
        return (1 - share) * hard + share * soft

    @property
    def standing(self) -> str:
        """How far and how well, told to people."""
        return f"epoch {self.epoch + 1}, loss {self.loss / max(1, self.at):.3f}"

    def close_epoch(self) -> None:
        """Judges the average and keeps it if it is the best so far."""
        found = evaluate(self.average, self.validation, self.judged_on)
        record = QuestionEpoch(
            self.epoch + 1,
            self.loss / self.at,
            found.loss,
            found.scores.em,
            found.scores.f1,
            self.seconds,
            self.at,
            dict(self.network.declaration().axes),
        )
        if self.plan.keep == "last" or record.f1 > max(
            (each.f1 for each in self.epochs), default=-1.0
        ):
            self.best.load_state_dict(self.average.state_dict())
        self.epochs.append(record)
        done = self.done()
        self.epoch, self.at, self.loss, self.seconds = self.epoch + 1, 0, 0.0, 0.0
        keep = None if self.learner is None else self.learner.after_epoch(record.f1)
        if keep is not None:
            self.remove(keep)
        self.progress(
            min(1.0, done),
            f"epoch {self.epoch}: training loss {record.training_loss:.3f}, validation loss "
            f"{record.validation_loss:.3f}, "
            f"EM {record.em:.2f}, F1 {record.f1:.2f} of {found.scores.questions:,} questions, "
            f"{record.seconds:.0f} s",
        )

    def remove(self, keep: Keep) -> None:
        """Shrinks the network, its averages, the optimizer and the learner."""
        sizes = self.network.declaration().axes
        self.average, self.best = (
            each.rebuilt(select_components(each.arrays(), each.declaration(), keep)[0]).to(
                self.device
            )
            for each in (self.average, self.best)
        )
        self.network, self.optimizer = shrink(self.network, self.optimizer, keep)
        for axis, index in keep.items():
            self.kept[axis] = self.kept.get(axis, np.arange(sizes[axis]))[np.asarray(index)]
        if self.learner is not None:
            self.learner.attach(self.network)

    def snapshot(self) -> dict[str, Any]:
        """Plain containers of tensors, numbers and strings."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "device_random": random_state(self.device),
            "epochs": [asdict(each) for each in self.epochs],
            "position": [self.epoch, self.at, self.steps],
            "sums": [self.loss, self.seconds, self.spent],
            "kept": {axis: torch.from_numpy(index) for axis, index in self.kept.items()},
            "learner": None if self.learner is None else self.learner.state_dict(),
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Continues where `snapshot` was taken."""
        if content["kept"]:
            self.remove({axis: index.numpy() for axis, index in content["kept"].items()})
        self.network.load_state_dict(content["network"])
        self.average.load_state_dict(content["average"])
        self.best.load_state_dict(content["best"])
        self.optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["random"])
        restore_random_state(self.device, content["device_random"])
        self.epochs = [QuestionEpoch(**each) for each in content["epochs"]]
        self.epoch, self.at, self.steps = content["position"]
        self.loss, self.seconds, self.spent = content["sums"]
        if self.learner is not None:
            self.learner.load_state_dict(content["learner"])
        self.progress(self.done(), f"continued at step {self.at:,} of epoch {self.epoch + 1}")

    def finished(self) -> ReaderTrainingOutcome:
        """The average that the plan keeps."""
        best = max(self.epochs, key=lambda each: each.f1).epoch
        return ReaderTrainingOutcome(self.best.eval(), list(self.epochs), best, dict(self.kept))
