"""What a learner may do while the loop trains: all that learning a structure adds to training.

Order of the calls: `attach`; then per step `substituted`, `penalty`, and after the optimizer's step
`after_step`; per epoch `evaluation_network`, `living` and `after_epoch`, and where it returned what
to keep, `attach` with the smaller network. On resuming, `attach` with the network at the
checkpoint's size, then `load_state_dict`; `extra_parameters` is asked for anew after either. At the
end `attach` with the trained network, then `living`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor, nn

from isslim.compress.pruning.axes import Keep, NetworkAxes
from isslim.compress.training.network import NetworkType, TrainableNetwork


class Trainable(Protocol):
    """What a learner that works on weights alone sees of a network."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """As of a module."""

    def declaration(self) -> NetworkAxes:
        """The named axes of the parameters."""


class WeightLearner(Protocol):
    """A learner that only changes weights after a step, of any network: see `Learner`."""

    def attach(self, network: Trainable) -> None:
        """Called before the first step, and again with the smaller network after each shrink."""

    def after_step(self, learning_rate: float) -> None:
        """Right after the optimizer's step."""

    def after_epoch(self, valid_perplexity: float) -> Keep | None:
        """Components that stay if some are dead now, else None."""

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes up where `state_dict` was called."""


class Learner(Protocol):
    """What is added to plain training so that the network learns which components it can lose.

    Its public attributes that are numbers, flags or texts are its settings: a checkpoint is resumed
    only with the same.
    """

    def attach(self, network: TrainableNetwork) -> None:
        """Called before the first step, and again with the smaller network after each shrink."""

    def substituted(self) -> dict[str, Tensor] | None:
        """Parameters to run the network with in this step (l0 gates); None: its own."""

    def penalty(self) -> Tensor | None:
        """A scalar added to the loss of this step (in the loss's own scale), or None."""

    def after_step(self, learning_rate: float) -> None:
        """Right after the optimizer's step: threshold or proximal step."""

    def extra_parameters(self) -> list[Tensor]:
        """Parameters of its own to optimize (gates), [] mostly."""

    def after_epoch(self, valid_perplexity: float) -> Keep | None:
        """Components that stay if some are dead now (removal exact up to `tolerance`), else None.

        May adapt its strength. `valid_perplexity` is NaN when the loop was given no validation
        text.
        """

    def living(self) -> Keep | None:
        """The components that do not count as removed now; None when all live.

        It changes nothing: it is asked for the record of every epoch, and at the end, for what is
        taken out of the trained network.
        """

    def evaluation_network(self, network: NetworkType) -> NetworkType:
        """What is validated, and returned at the end: the network, or a copy with folded gates."""

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs: tensors, numbers, strings and plain containers of them."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes up where `state_dict` was called."""
