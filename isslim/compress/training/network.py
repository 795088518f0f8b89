"""A network that training, learners and shrinking work on: a module with named axes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from isslim.compress.pruning.axes import Array, Arrays, NarrowPlace, NetworkAxes
from isslim.types.manifest import Architecture


class TrainableNetwork(nn.Module, ABC):
    """A module whose parameters are arrays with named axes (see `isslim.compress.pruning.network`).

    Every parameter is held by a module and read in `forward`, so that `torch.func.functional_call`
    runs the network with others in their place. A buffer is an array of indices.

    Attributes:
        architecture: what it is called in a manifest.
        spec: its sizes, a dataclass of its kind.
        regularisation: what it trains under, as `rebuilt` takes it.
    """

    architecture: ClassVar[Architecture]
    spec: Any
    regularisation: Any

    @abstractmethod
    def declaration(self) -> NetworkAxes:
        """The named axes of the arrays."""

    def narrow_places(self) -> tuple[NarrowPlace, ...]:
        """Where a narrow layer may be put in that it has not, but for those before its decoder."""
        return ()

    @abstractmethod
    def rebuilt(self, arrays: Arrays, dropout: Any = 0.0) -> Self:
        """A network of the same architecture with other sizes and values, in evaluation mode.

        Args:
            arrays: every parameter by name, and every array of indices, float32.
            dropout: what it is to train under, in the terms of its kind.
        """

    def initialise(self, scale: float, generator: torch.Generator) -> None:
        """Draws every weight uniformly from (-scale, scale); biases start at zero, as in the paper.

        Args:
            scale: of the weights.
            generator: of the draws.
        """
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if "bias" in name:
                    parameter.zero_()
                else:
                    parameter.uniform_(-scale, scale, generator=generator)

    def tensors(self) -> dict[str, Tensor]:
        """The parameters and the arrays of indices by name; a matrix of two readers once."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def filled(self, arrays: Arrays) -> Self:
        """This model with the values of `arrays`, of its own sizes, in evaluation mode."""
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(torch.from_numpy(arrays[name]))
        return self.eval()

    def arrays(self) -> dict[str, Array]:
        """The parameters and the arrays of indices by name, as float32 arrays (copies)."""
        return {
            name: tensor.detach().cpu().numpy().astype("float32", copy=True)
            for name, tensor in self.tensors().items()
        }


NetworkType = TypeVar("NetworkType", bound=TrainableNetwork)
