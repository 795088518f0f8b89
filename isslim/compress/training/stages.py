"""Distillation in stages: continued as long as it pays, the best state kept, resumable.

How long a repair pays is not known in advance, and a learning rate that decays needs its horizon.
So it comes in stages, short ones first, each with a decay of its own from a lower peak; behind each
the network is evaluated on data that is not trained on. After one that gains too little the peak is
lowered, twice at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import torch

from isslim.compress.errors import CheckpointRefused
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning.axes import Arrays
from isslim.compress.pruning.network import Model
from isslim.compress.training.checkpoints import (
    digest_of,
    load_training_checkpoint,
    save_training_checkpoint,
)

MINUTES = (0.5, 1.0, 1.5, 2.0)
"""Of the stages; further ones, where more is asked for, take twice as long as the one before."""
PEAKS = (1.0, 0.7, 0.5, 0.35)
"""Their peak learning rates, as shares of the first one's; further ones have the last."""
LEAST_GAIN = 0.003
"""Share of the loss's unit that a stage has to gain: of a perplexity, 0.3 %."""
LOWERED, LOWERINGS = 0.25, 2
"""What a stage that gains less multiplies the peaks with, and how often at most. After a mild cut
of an LSTM of 2 x 400 the first peak lost what a quarter of it won."""
LEAST_STEPS = 100
"""Of a stage, before it is judged, where the minutes of the job allow it."""
TEACHER_ALONE = 1.0
"""The teacher's share of the loss where nothing else is learnt from."""
MOST_STAGES = 8
"""A short text ends stages early; it is not read for ever."""
ENOUGH = 0.9
"""Share of the minutes that counts as all of them."""


@dataclass(frozen=True)
class Stage:
    """One stage of a distillation.

    Attributes:
        number: from 0.
        minutes: it may take.
        most_minutes: to which it may go on where it has made fewer than `LEAST_STEPS` steps.
        share: of the first stage's peak learning rate.
        soft: the teacher's share of the loss; the rest is that of the labels.
        steps: that the stages before it took, which says where in the training data it begins.
        checkpoint: its own, to be written on the way and resumed from.
        progress: called with the share of the stage that is done and a message.
    """

    number: int
    minutes: float
    most_minutes: float
    share: float
    soft: float
    steps: int
    checkpoint: Path
    progress: ProgressCallback


@dataclass(frozen=True)
class Trained(Generic[Model]):
    """What a stage returns.

    Attributes:
        network: after it, in evaluation mode.
        steps: that it took.
        seconds: of its steps, also those before it was resumed.
    """

    network: Model
    steps: int
    seconds: float


@dataclass(frozen=True)
class Tuned(Generic[Model]):
    """What a distillation returns.

    Attributes:
        network: the best so far, which is the given one where nothing was better.
        minutes: trained so far, in all calls.
        losses: on data that is not trained on, in nats: of the given network, then of the best one
            after each stage.
        ended: why another stage would not pay; empty where it may.
        steps: trained so far, in all calls.
    """

    network: Model
    minutes: float
    losses: tuple[float, ...]
    ended: str = ""
    steps: int = 0

    @property
    def is_better(self) -> bool:
        """Whether anything was won."""
        return self.losses[-1] < self.losses[0]


@dataclass(frozen=True)
class Distillation(Generic[Model]):
    """How networks of a kind are distilled.

    Attributes:
        train: trains a copy of a network for one stage.
        evaluate: its loss on data that is not trained on, in nats.
        described: what else a state on disk has to agree with, such as the data and the seed.
        least_gain: of a stage, in nats; after a smaller one the peak is lowered.
        soft: the teacher's share of the loss; the rest is that of the labels.
        weights: all that training changes in a network, by name.
        filled: a network with other weights of the same names.
    """

    train: Callable[[Model, Stage], Trained[Model]]
    evaluate: Callable[[Model], float]
    described: Mapping[str, str] = field(default_factory=dict)
    least_gain: float = LEAST_GAIN
    soft: float = TEACHER_ALONE
    weights: Callable[[Model], Arrays] = lambda network: network.arrays()
    filled: Callable[[Model, Arrays], Model] = lambda network, arrays: network.rebuilt(arrays)

    def run(
        self,
        network: Model,
        minutes: float,
        folder: Path,
        progress: ProgressCallback,
        most_minutes: float | None = None,
    ) -> Tuned[Model]:
        """Distils for at most some minutes in all.

        A later call with more minutes continues, and so does a call after the process was killed.

        Args:
            network: the small network; it is left as it is.
            minutes: most of them, those of former calls in the same folder included.
            folder: of this network alone: what is in it of another one is deleted.
            progress: called with the share of the minutes and a message.
            most_minutes: those to which a stage of few steps may go on; None: `minutes`.
        """
        most = minutes if most_minutes is None else max(minutes, most_minutes)
        progress = _forward(progress)
        described = {"soft": str(self.soft), **self.described}
        state = _State(folder, {"network": digest_of(network.arrays()), **described})
        content = state.read()
        if content is None:
            content = {
                "minutes": 0.0, "steps": 0, "ended": "", "best": None,
                "losses": [self.evaluate(network)], "lowered": 0,
            }  # fmt: skip
            state.write(content)
        best = network if content["best"] is None else self._read(network, content["best"])
        while not content["ended"] and content["minutes"] < ENOUGH * minutes:
            number, before = len(content["losses"]) - 1, content["losses"][-1]
            stage = self._next(number, (minutes, most), content, state.checkpoint, progress)
            try:
                trained = self._stage(best, stage)
            except FloatingPointError as diverged:
                content["ended"] = f"it diverged ({diverged})"
                state.write(content)
                break
            after = self.evaluate(trained.network)
            content["minutes"] += trained.seconds / 60
            content["steps"] += trained.steps
            if after < before:  # NaN is no better either
                best = trained.network
                content["best"] = {
                    name: torch.from_numpy(array) for name, array in self.weights(best).items()
                }
            content["losses"] = [*content["losses"], after if after < before else before]
            if not before - after >= self.least_gain:  # NaN is no gain
                content["lowered"] += 1
            if content["lowered"] > LOWERINGS:
                content["ended"] = "no more was won"
            elif number + 1 == MOST_STAGES:
                content["ended"] = "all stages were taken"
            state.write(content)
        return Tuned(
            best, content["minutes"], tuple(content["losses"]), content["ended"], content["steps"]
        )

    def _read(self, network: Model, weights: Mapping[str, torch.Tensor]) -> Model:
        return self.filled(network, {name: array.numpy() for name, array in weights.items()})

    def _stage(self, network: Model, stage: Stage) -> Trained[Model]:
        try:
            return self.train(network, stage)
        except CheckpointRefused:
            # Damaged, or of another length or release: the stage is begun anew.
            stage.checkpoint.unlink()
            return self.train(network, stage)

    def _next(
        self,
        number: int,
        limits: tuple[float, float],
        content: Mapping[str, Any],
        checkpoint: Path,
        progress: ProgressCallback,
    ) -> Stage:
        """The next stage.

        What would be left for less than half of the one behind it is added to it.
        """
        minutes, most = limits
        left = minutes - content["minutes"]
        length = _length(number)
        if left - length < _length(number + 1) / 2:
            length = left
        share = PEAKS[min(number, len(PEAKS) - 1)] * LOWERED ** content["lowered"]
        beyond = max(length, most - content["minutes"])

        def within(done: float, message: str) -> None:
            progress(min(1.0, (content["minutes"] + done * length) / minutes), message)

        return Stage(number, length, beyond, share, self.soft, content["steps"], checkpoint, within)


def _length(number: int) -> float:
    """Minutes of a stage."""
    beyond = number - len(MINUTES) + 1
    return MINUTES[number] if beyond <= 0 else MINUTES[-1] * math.pow(2.0, beyond)


def _forward(progress: ProgressCallback) -> ProgressCallback:
    """Never tells less than before: a stage may end early, and the next begins where it ended."""
    furthest = 0.0

    def tell(done: float, message: str) -> None:
        nonlocal furthest
        furthest = max(furthest, done)
        progress(furthest, message)

    return tell


@dataclass(frozen=True)
class _State:
    """What a distillation leaves on disk behind each stage, and its stage's own checkpoint.

    A search that depends on measurements may choose another network when a killed job is resumed.
    """

    folder: Path
    configuration: dict[str, str]

    @property
    def checkpoint(self) -> Path:
        """Of the stage that runs."""
        return self.folder / "stage.checkpoint"

    @property
    def _path(self) -> Path:
        return self.folder / "stages.state"

    def read(self) -> dict[str, Any] | None:
        """What was written of this network; None where there is nothing, and the folder is empty.

        What is damaged, or of another network, is deleted.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            try:
                return load_training_checkpoint(self._path, self.configuration)
            except CheckpointRefused:
                pass
        for stale in self.folder.iterdir():
            stale.unlink()
        return None

    def write(self, content: Mapping[str, Any]) -> None:
        """Writes the state behind a stage, whose checkpoint is no longer needed."""
        save_training_checkpoint(self._path, self.configuration, content)
        self.checkpoint.unlink(missing_ok=True)
