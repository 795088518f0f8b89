"""Trains BiDAF: Adam on the cross-entropy of start and end, with averaged weights.

With a teacher the network also learns its distributions of start and end, beside the answers, or
in their place where there are none; with a learner the network may shrink at the end of an epoch.

The exponential moving average of the weights is evaluated and kept, as in the paper's code; by
default that of the epoch with the best F1 on the validation questions.

A run can be stopped at any time and continues from its last checkpoint exactly: weights, average,
both moments of Adam, random state and position are in it, and an epoch's batches follow from the
seed.

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
from isslim.compress.errors import TextUnusable, TrainingDiverged
from isslim.compress.kinds.questions.evaluation import evaluate
from isslim.compress.kinds.questions.examples import QuestionBatch, Questions, batches
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.plan import (
    QuestionEpoch,
    QuestionPlan,
    ReaderTrainingOutcome,
)
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning.axes import Keep, select_components
from isslim.compress.training.checkpoints import (
    Configuration,
    digest_of,
    load_training_checkpoint,
    save_training_checkpoint,
)
from isslim.compress.training.hooks import WeightLearner
from isslim.compress.training.shrinking import shrink
from isslim.compress.training.sparsity import sparsity_of


def train_reader(  # noqa: PLR0913 - each option is independent of the others and named by its callers
    network: Bidaf,
    training: Questions,
    validation: Questions,
    plan: QuestionPlan,
    *,
    teacher: Bidaf | None = None,
    learner: WeightLearner | None = None,
    checkpoint: Path | None = None,
    progress: ProgressCallback | None = None,
) -> ReaderTrainingOutcome:
    """Trains `network` in place, as long as nothing is removed.

    Args:
        network: with its dropout; training takes place on its device.
        training: examples longer than the plan allows are left out, and without a teacher those
            without a span of tokens.
        validation: with golden answers.
        plan: the schedule.
        teacher: the model to distil from, in evaluation mode.
        learner: makes components removable, by the weights alone
            (`isslim/compress/training/learners/proximal.py`).
        checkpoint: where to resume from if it exists, and to write every `checkpoint_minutes` and
            after every epoch.
        progress: called with the share done (0 to 1) and a line to show.

    Returns:
        The averaged weights that the plan keeps, and the epochs.

    Raises:
        ValueError: when the best epoch is to be kept of a network that shrinks.
        TextUnusable: when no training example is left.
        CheckpointRefused: when the checkpoint is damaged or of another run.
        TrainingDiverged: when the loss is not finite.
    """
    if learner is not None and plan.keep == "best":
        raise ValueError(
            "keep='best' would return a network from before its components were removed; take "
            "'last'"
        )
    run = _Run(network, (training, validation), plan, teacher, learner, progress)
    if checkpoint is not None and checkpoint.exists():
        run.restore(load_training_checkpoint(checkpoint, run.configuration))
    saved = time.monotonic()
    while run.done() < 1:
        # 1. The epoch's batches, the same after a resumption.
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
        # 3. The average is evaluated, and the epoch closed.
        run.close_epoch()
        if checkpoint is not None:
            save_training_checkpoint(checkpoint, run.configuration, run.snapshot())
            saved = time.monotonic()
    return run.finished()


class _Run:
    """The state of a training run.

    Attributes:
        spec: sizes of the given network.
        kept: by axis from which something was removed, the indices of the given network that are
            left.
        usable: positions of the examples that are trained on.
        validated: positions of the validation questions that are answered after each epoch.
        average: the moving average of the weights.
        best: the average that is to be returned, so far.
        epoch: epochs closed.
        at: batches of the epoch so far.
        steps: batches in all.
        loss: sum over the batches of the epoch so far, in nats per question.
        seconds: of the epoch so far.
        spent: seconds in all, also before the run was resumed.
    """

    def __init__(
        self,
        network: Bidaf,
        sets: tuple[Questions, Questions],
        plan: QuestionPlan,
        teacher: Bidaf | None,
        learner: WeightLearner | None,
        progress: ProgressCallback | None,
    ) -> None:
        self.network, self.plan, self.teacher, self.learner = network, plan, teacher, learner
        self.training, self.validation = training, validation = sets
        self.progress: ProgressCallback = progress or (lambda done, line: None)
        self.spec, self.kept = str(network.spec), dict[str, NDArray[np.int64]]()
        self.usable = [
            index
            for index, example in enumerate(training.examples)
            if (example.span is not None or teacher is not None)
            and len(example.context_row) <= plan.longest_context
            and len(example.question_row) <= plan.longest_question
        ]
        if not self.usable:
            raise TextUnusable(
                "no training question has an answer that is a span of tokens of a short enough "
                f"context, of {plan.longest_context} tokens at most; `minutes` 0 needs none"
            )
        count = len(validation.examples)
        self.validated = sorted(
            {int(each) for each in np.linspace(0, count - 1, min(count, plan.validation))}
        )
        torch.manual_seed(plan.seed)
        self.average = copy.deepcopy(network).eval()
        self.best = copy.deepcopy(self.average)
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(network.parameters(), lr=plan.rate)
        self.epochs: list[QuestionEpoch] = []
        self.epoch = self.at = self.steps = 0
        self.loss, self.seconds, self.spent = 0.0, 0.0, 0.0
        self.steps_of_an_epoch = -(-len(self.usable) // plan.batch)
        if learner is not None:
            learner.attach(network)

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return device_of(self.network)

    @property
    def configuration(self) -> Configuration:
        """What a resumed run has to share with the run that was stopped.

        `epochs` only ends the run, unless the learning rate depends on it.
        """
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
        for index in self.usable:
            digest.update(self.training.examples[index].id.encode() + b"\n")
        return description | {
            "network": self.spec,
            "teacher": "none" if self.teacher is None else digest_of(self.teacher.arrays()),
            "learner": "none" if self.learner is None else type(self.learner).__name__,
            "dropout": str(self.network.dropout),
            "questions": f"{len(self.usable):,}, {digest.hexdigest()[:12]}",
        }

    def batches(self) -> list[list[int]]:
        """The batches of this epoch, as positions of examples."""
        lengths = [len(self.training.examples[index].context_row) for index in self.usable]
        generator = np.random.default_rng([self.plan.seed, self.epoch])
        return [
            [self.usable[place] for place in each]
            for each in batches(lengths, self.plan.batch, generator)
        ]

    def step(self, chosen: list[int]) -> None:
        """Trains on one batch, given as positions of examples.

        Raises:
            TrainingDiverged: when the gradient is not finite.
        """
        began = time.monotonic()
        self.network.train()
        inputs = self.training.distinct(chosen, self.device)
        vectors, *others = inputs
        start, end = self.network.distinct(self._masked(vectors), *others)
        loss = self._loss(chosen, inputs, start, end)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip)
        if not torch.isfinite(norm):
            raise TrainingDiverged(
                f"the loss is not finite in epoch {self.epoch + 1}; train with a smaller rate",
                best=self.finished() if self.epochs else None,
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
            # As in TensorFlow's average the decay is smaller early on, so that the first weights
            # are soon forgotten.
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

    def _masked(self, vectors: Tensor) -> Tensor:
        """The words' vectors (N, E), some of them zeros, as for words without a vector."""
        if self.plan.word_dropout == 0:
            return vectors
        return vectors * (
            torch.rand(len(vectors), 1, device=vectors.device) >= self.plan.word_dropout
        )

    def done(self) -> float:
        """The share of the run that is done, 0 to 1."""
        epochs = self.epoch + self.at / self.steps_of_an_epoch
        if self.plan.minutes is None:
            return epochs / self.plan.epochs
        by_clock = self.spent / (60 * self.plan.minutes)
        most = self.plan.most_epochs
        return by_clock if most is None else max(by_clock, epochs / most)

    def _loss(self, chosen: list[int], inputs: QuestionBatch, start: Tensor, end: Tensor) -> Tensor:
        """The loss of the answers and of the teacher's distributions, in nats per question.

        Of a batch in which only some questions have answers, these count by their share.
        """
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
            expected = self.teacher.distinct(*inputs)
        # At padding the teacher's probability is zero and our log-probability finite, so that their
        # product is zero.
        soft = -sum(
            (log_probs.exp() * own).sum(dim=1).mean()
            for log_probs, own in zip(expected, (start, end), strict=True)
        )
        share = self.plan.soft * len(labelled) / len(chosen) + (1 - len(labelled) / len(chosen))
        return (1 - share) * hard + share * soft

    @property
    def standing(self) -> str:
        """Epoch and mean loss, in words."""
        return f"epoch {self.epoch + 1}, loss {self.loss / max(1, self.at):.3f}"

    def close_epoch(self) -> None:
        """Evaluates the average, keeps it if the plan asks, removes what the learner gives up."""
        found = evaluate(self.average, self.validation, self.validated)
        sparsity = sparsity_of(self.network, None)
        record = QuestionEpoch(
            self.epoch + 1,
            self.loss / self.at,
            found.loss,
            found.scores.em,
            found.scores.f1,
            self.seconds,
            self.at,
            dict(self.network.declaration().axes),
            sparsity.removed,
            sparsity.group_norms,
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
        """The state in plain containers of tensors, numbers and strings."""
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
        """Restores a snapshot."""
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
        """The outcome: the average that the plan keeps, and the epochs."""
        best = max(self.epochs, key=lambda each: each.f1).epoch
        return ReaderTrainingOutcome(
            self.best.eval(), list(self.epochs), best, self.steps_of_an_epoch, dict(self.kept)
        )
