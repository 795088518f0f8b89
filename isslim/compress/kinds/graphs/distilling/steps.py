"""The training of one stage: windows of passages, read as the caller reads them.

A window is a few runs that follow each other; the network's own states go on from one window to the
next, without their gradients. A stage that was killed goes on from its checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from isslim.compress.kinds.graphs.distilling.lessons import Lessons
from isslim.compress.kinds.graphs.distilling.losses import Sums, added, state_error
from isslim.compress.kinds.graphs.streams import Stream
from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from isslim.compress.kinds.graphs.trainable.proof import tensors
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.training.checkpoints import (
    digest_of,
    load_training_checkpoint,
    save_training_checkpoint,
)
from isslim.compress.training.stages import LEAST_STEPS, Stage, Trained

RATE = 0.02
"""Peak learning rate of the first stage, in terms of each weight's own size (`_size`): graphs of
any origin have weights of any scale. 100 steps from a graph that the closed form had cut to a third
won 8 % of the change at 0.01, 6 % at 0.03 and 4 % at 0.003; 60 steps at 0.1 lost two thirds."""
LEAST_SIZE = 0.01
"""Of a weight whose numbers are all about zero, such as a bias."""
WARMING = 30
"""Steps in which the rate rises to its peak: the first ones of Adam are as large for a weight that
hardly matters as for one that does, and undo what the closed form did."""
WINDOW = 16
"""Runs between which gradients are passed on."""
SINGLE = 4
"""Passages that are read at once where they cannot be joined."""
REUSED, POOL = 3, 32
"""How often a passage with its answers is read on average, and how many are kept for that: the
answers of a whole model take as long as a step of a small one."""
CLIP = 1.0
"""Largest norm of the gradient."""
STATES = 0.1
"""Weight of the states at the end of a window beside the outputs: what comes later depends on them,
and is not seen."""
CHECKPOINT_SECONDS = 30.0
FAULTS = 5
"""Steps in a row without a finite gradient, after which training has diverged."""
SHOWN = 10
"""Steps between two messages."""


@dataclass
class _Reading:
    """A passage that is being read.

    Attributes:
        stream: with the original's answers.
        at: its next run.
        states: the network's own, by input.
    """

    stream: Stream
    at: int = 0
    states: dict[str, Tensor] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        return self.at >= len(self.stream.runs)


def train_stage(
    network: GraphNetwork, lessons: Lessons, stage: Stage, seed: int, fixed: Collection[str] = ()
) -> Trained[GraphNetwork]:
    """Trains a network for one stage.

    Args:
        network: the small one; it is left as it is.
        lessons: what is learnt from.
        stage: its minutes, its checkpoint.
        seed: of the choice of examples.
        fixed: names of constants that are not trained.

    Raises:
        FloatingPointError: when it diverges.
        CheckpointRefused: when the checkpoint is damaged or of another stage.
    """
    training = _Training(network, lessons, stage, seed, fixed)
    while training.done < 1:
        training.take()
    return training.finish()


class _Training:
    """A stage that runs."""

    def __init__(
        self,
        network: GraphNetwork,
        lessons: Lessons,
        stage: Stage,
        seed: int,
        fixed: Collection[str],
    ) -> None:
        self._network, self._examples, self._losses = network, lessons.examples, lessons.losses
        self._stage, self._seed = stage, seed
        self._outputs = lessons.names
        self._student = TorchGraph.of(network.model(), self._outputs)
        free = network.free_weights()
        self._weights = {
            name: weight
            for name, weight in self._student.weights.items()
            if name in free and name not in fixed
        }
        for name, weight in self._student.weights.items():
            weight.requires_grad_(name in self._weights)
        self._masks = {
            name: torch.from_numpy(free[name]) for name in self._weights if not free[name].all()
        }
        self._sizes = [_size(weight.detach()) for weight in self._weights.values()]
        self._optimizer = torch.optim.Adam([{"params": [each]} for each in self._weights.values()])
        self._step, self._faults = 0, 0
        self._readings: list[_Reading] = []
        self._pool: list[Stream] = []
        self._configuration = {
            "network": digest_of(network.arrays()), "seed": str(seed), "stage": str(stage.number),
        }  # fmt: skip
        spent = self._restored()
        self._since, self._saved = time.monotonic() - spent, time.monotonic()

    @property
    def _spent(self) -> float:
        """Seconds, those before it was resumed included."""
        return time.monotonic() - self._since

    @property
    def done(self) -> float:
        """Share of the stage that is done; it goes on for `LEAST_STEPS` where the job allows it."""
        stage = self._stage
        by_clock = self._spent / (60 * stage.minutes)
        if self._step < LEAST_STEPS:
            most = self._spent / (60 * stage.most_minutes)
            by_clock = min(by_clock, max(self._step / LEAST_STEPS, most))
        return by_clock

    def take(self) -> None:
        """One step of the optimizer."""
        done = self.done
        warmed = min(1.0, (self._step + 1) / WARMING)
        rate = RATE * self._stage.share * warmed * max(0.0, 1 - done)
        for group, size in zip(self._optimizer.param_groups, self._sizes, strict=True):
            group["lr"] = rate * size
        self._optimizer.zero_grad(set_to_none=True)
        off, states = self._loss()
        loss = off + STATES * states
        value, norm = float(loss.detach()), math.inf
        if math.isfinite(value):
            loss.backward()  # type: ignore[no-untyped-call]
            norm = self._clipped()
        if math.isfinite(norm):
            self._optimizer.step()
            self._faults = 0
        else:
            self._faults += 1
            self._readings = []
            if self._faults == FAULTS:
                raise FloatingPointError(
                    f"{FAULTS} steps in a row had no finite gradient, the last one step "
                    f"{self._step} at a learning rate of {rate:.2g} of its size"
                )
        self._step += 1
        if self._step % SHOWN == 0:
            self._stage.progress(
                min(done, 1.0),
                f"step {self._step}, off by {math.sqrt(max(float(off.detach()), 0.0)):.1%}",
            )
        if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self._save()

    def finish(self) -> Trained[GraphNetwork]:
        """The network with its new weights."""
        trained = self._student.trained_weights()
        weights = {name: trained[name] for name in self._weights}
        return Trained(self._network.with_weights(weights), self._step, self._spent)

    def _loss(self) -> tuple[Tensor, Tensor]:
        """The loss of the next windows, and that of the states at their ends."""
        generator = np.random.default_rng([self._seed, self._stage.number, self._step])
        count = 1 if self._examples.joint is not None else SINGLE
        self._readings = [each for each in self._readings if not each.is_over]
        while len(self._readings) < count:
            self._readings.append(_Reading(self._next(generator)))
        sums: dict[str, Sums] = {}
        states: list[Tensor] = []
        for reading in self._readings:
            found, off = self._window(reading)
            sums = added(sums, found)
            states += off
        loss = self._losses.mean(sums)
        return loss, torch.stack(states).mean() if states else torch.zeros_like(loss)

    def _next(self, generator: np.random.Generator) -> Stream:
        """A passage: a new one, or one that was read before."""
        if self._pool and generator.random() > 1 / REUSED:
            return self._pool[int(generator.integers(len(self._pool)))]
        self._pool = [*self._pool, self._examples.draw(generator)][-POOL:]
        return self._pool[-1]

    def _window(self, reading: _Reading) -> tuple[dict[str, Sums], list[Tensor]]:
        """The losses of a passage's next runs, and those of the states behind the last of them."""
        stream, sums = reading.stream, dict[str, Sums]()
        end = min(reading.at + WINDOW, len(stream.runs))
        made: dict[str, Tensor] = {}
        for place in range(reading.at, end):
            given = {**tensors(stream.runs[place]), **reading.states}
            made = self._student(given, self._outputs)
            sums = added(sums, self._losses.sums(made, stream.wanted[place]))
            reading.states = {given: made[name] for name, given in stream.carried.items()}
        wanted = stream.wanted[end - 1]
        off = [
            state_error(made[name], torch.from_numpy(np.array(wanted[name])))
            for name in stream.carried
            if made[name].is_floating_point()
        ]
        reading.states = {name: state.detach() for name, state in reading.states.items()}
        reading.at = end
        return sums, off

    def _clipped(self) -> float:
        """The norm of the gradient before it is clipped; entries that are no weights have none."""
        for name, mask in self._masks.items():
            gradient = self._weights[name].grad
            if gradient is not None:
                gradient *= mask
        return float(nn.utils.clip_grad_norm_(self._weights.values(), CLIP))

    def _save(self) -> None:
        content = {
            "weights": {name: weight.detach() for name, weight in self._weights.items()},
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
            "spent": self._spent,
        }
        save_training_checkpoint(self._stage.checkpoint, self._configuration, content)
        self._saved = time.monotonic()

    def _restored(self) -> float:
        """Goes on from the checkpoint, if there is one; returns the seconds spent before."""
        if not self._stage.checkpoint.exists():
            return 0.0
        content = load_training_checkpoint(self._stage.checkpoint, self._configuration)
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(content["weights"][name])
        self._optimizer.load_state_dict(content["optimizer"])
        self._step = int(content["step"])
        return float(content["spent"])


def _size(weight: Tensor) -> float:
    """The root mean square of a weight, over the root of how many of its numbers are summed.

    Adam changes all numbers by as much, so that a sum of n of them changes n times as much.
    """
    summed = math.sqrt(weight.numel()) if weight.ndim > 1 else 1.0
    return max(LEAST_SIZE, float(weight.square().mean().sqrt())) / math.sqrt(summed)
