"""The mutable state of a training run: what a checkpoint holds and a rollback restores.

A run is the one mutable object of training. The loop moves it from step to step; `snapshot` and
`restore` are exact, so that a run resumed on the same machine is the undisturbed run bit for bit.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isslim.compress.devices import device_of, random_state, restore_random_state
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.training.plan import EpochRecord
from isslim.compress.pruning.axes import Keep
from isslim.compress.training.hooks import Learner
from isslim.compress.training.optimizers import averaged_weights, optimizer_of
from isslim.compress.training.plan import TrainingPlan
from isslim.compress.training.ranks import Ranks
from isslim.compress.training.shrinking import shrink
from isslim.compress.training.state import State, detach


class Run:
    """A network in training, its optimizer, its learner, and its position.

    Attributes:
        network: a copy of the given one, in training mode.
        extra: the optimizer of the learner's own parameters, if it has any.
        state: of this process's streams, before the next segment.
        teacher_state: the teacher's, likewise; None without a teacher.
        step: segments trained.
        spent: seconds trained, also before the run was resumed.
        setbacks: one line for each rollback.
        kept: by axis from which something was removed, the indices of the given network that are
            left.
        records: of the epochs so far.
        loss: sum of the labels' mean losses of the epoch so far, in nats.
        steps: segments of the epoch so far.
        seconds: of the epoch so far.
        best: perplexity and weights of the epoch that validated best, when the plan asks for them.
    """

    def __init__(
        self, network: LanguageModel, plan: TrainingPlan, learner: Learner | None, ranks: Ranks
    ) -> None:
        self.network = copy.deepcopy(network).train()
        self.plan, self.learner, self.ranks = plan, learner, ranks
        ranks.same_start(parameter.data for parameter in self.network.parameters())
        self.optimizer = optimizer_of(self.network, plan)
        self.extra: torch.optim.Optimizer | None = None
        self.state: State = []
        self.teacher_state: State | None = None
        self.step, self.spent = 0, 0.0
        self.setbacks: list[str] = []
        self.kept: dict[str, NDArray[np.int64]] = {}
        self.records: list[EpochRecord] = []
        self.loss, self.steps, self.seconds = 0.0, 0, 0.0
        self.best: dict[str, Any] | None = None
        if learner is not None:
            learner.attach(self.network)
            self._watch_extra(learner)

    def rewind(self, teacher: LanguageModel | None) -> None:
        """Resets the states to those at the start of the streams."""
        own = self.plan.batch // self.ranks.world
        self.state = self.network.zero_state(own)
        self.teacher_state = None if teacher is None else teacher.zero_state(own)

    def clear_gradients(self) -> None:
        """Drops the gradients of the last step."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.extra is not None:
            self.extra.zero_grad(set_to_none=True)

    def gradients(self) -> list[Tensor]:
        """The gradients of the network and of the learner's own parameters."""
        optimizers = [self.optimizer] if self.extra is None else [self.optimizer, self.extra]
        groups = (group for optimizer in optimizers for group in optimizer.param_groups)
        return [
            parameter.grad
            for group in groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]

    def advance(self, rate: float, loss: float, seconds: float) -> None:
        """Takes the optimizer's step, then the learner's.

        Args:
            rate: the learning rate.
            loss: the labels' mean, in nats.
            seconds: that the step took.
        """
        self.optimizer.step()
        if self.extra is not None:
            self.extra.step()
        if self.learner is not None:
            self.learner.after_step(rate)
        self.step += 1
        self.loss, self.steps, self.seconds = (
            self.loss + loss,
            self.steps + 1,
            self.seconds + seconds,
        )

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        return all(bool(torch.isfinite(parameter).all()) for parameter in self.network.parameters())

    def remove(self, keep: Keep) -> None:
        """Shrinks network, optimizer and learner; the states are reset at the next epoch anyway."""
        self._shrink(keep)
        if self.learner is not None:
            self.learner.attach(self.network)
            self._watch_extra(self.learner)

    def snapshot(self) -> dict[str, Any]:
        """The whole state, in plain containers that share no memory with the run.

        Every process of a group has to call it, since the states of all are gathered.
        """
        generators = self.ranks.generators(torch.get_rng_state())
        content = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "extra": None if self.extra is None else self.extra.state_dict(),
            "learner": None if self.learner is None else self.learner.state_dict(),
            "state": self.ranks.gathered(detach(self.state)),
            "teacher_state": self.ranks.gathered(self.teacher_state),
            "step": self.step,
            "spent": self.spent,
            "setbacks": self.setbacks,
            "kept": {axis: torch.from_numpy(index) for axis, index in self.kept.items()},
            "records": [vars(record) for record in self.records],
            "epoch": (self.loss, self.steps, self.seconds),
            "best": self.best,
            "generators": generators,
            "device_generator": random_state(self._device),
        }
        return copy.deepcopy(content)

    def restore(self, content: dict[str, Any]) -> None:
        """Restores a snapshot; a fresh run is shrunk to the saved size first."""
        content = copy.deepcopy(content)
        kept = {axis: index.numpy() for axis, index in content["kept"].items()}
        if kept and not self.kept:
            self.remove(kept)
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.learner is not None:
            self.learner.load_state_dict(content["learner"])
            self._watch_extra(self.learner)
            if self.extra is not None:
                self.extra.load_state_dict(content["extra"])
        self.state = self._own_columns(content["state"])
        saved = content["teacher_state"]
        self.teacher_state = None if saved is None else self._own_columns(saved)
        self.step, self.spent, self.setbacks = (
            content["step"],
            content["spent"],
            content["setbacks"],
        )
        self.records = [EpochRecord(**record) for record in content["records"]]
        self.loss, self.steps, self.seconds = content["epoch"]
        self.best = content["best"]
        torch.set_rng_state(content["generators"][self.ranks.rank])
        restore_random_state(self._device, content["device_generator"])

    def remember_best(self, perplexity: float) -> None:
        """Keeps the current weights if no epoch validated better; for use in `averaged_weights`."""
        evaluated = math.inf if math.isnan(perplexity) else perplexity
        if self.plan.keep == "best" and (self.best is None or evaluated < self.best["perplexity"]):
            self.best = {
                "perplexity": evaluated,
                "network": copy.deepcopy(self.network.state_dict()),
            }

    def result(self) -> LanguageModel:
        """The network to return, in evaluation mode: the last, averaged or best, by the plan."""
        with averaged_weights(self.network, self.optimizer):
            network = copy.deepcopy(
                self.network
                if self.learner is None
                else self.learner.evaluation_network(self.network)
            )
        if self.best is not None:
            network.load_state_dict(self.best["network"])
        for parameter in network.parameters():
            parameter.grad = None
        return network.eval()

    def mean_loss(self) -> float:
        """Mean loss of the labels over the epoch so far, in nats; NaN before its first step."""
        return self.loss / self.steps if self.steps else math.nan

    def _shrink(self, keep: Keep) -> None:
        sizes = self.network.declaration().axes
        self.network, self.optimizer = shrink(self.network, self.optimizer, keep)
        self.network.train()
        for axis, index in keep.items():
            whole = self.kept.get(axis, np.arange(sizes[axis]))
            self.kept[axis] = whole[np.asarray(index)]

    def _watch_extra(self, learner: Learner) -> None:
        """Sets up Adam for the learner's parameters; moments are kept over a shrink."""
        own = learner.extra_parameters()
        known = {} if self.extra is None else self.extra.state
        self.extra = torch.optim.Adam(own, lr=self.plan.extra_learning_rate) if own else None
        if self.extra is not None:
            self.extra.state.update(
                {parameter: known[parameter] for parameter in own if parameter in known}
            )

    def _own_columns(self, state: State) -> State:
        columns = self.ranks.columns(self.plan.batch)
        return [
            tuple(each[:, columns].to(self._device).contiguous() for each in layer)
            for layer in state
        ]

    @property
    def _device(self) -> torch.device:
        return device_of(self.network)
