"""What every language model offers to the stages. A new architecture implements this class and registers an exporter.

The stages know no architecture: they train and score through `forward`, observe through `site_inputs`, and prune arrays
by their `declaration`.

Legend: B batch, T steps, V vocabulary, D width of a site's concatenated inputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from isslim.compress.kinds.language.networks.regularisation import Regularisation
from isslim.compress.pruning.axes import Array, Arrays, Declaration
from isslim.types.manifest import Architecture

State = list[tuple[Tensor, ...]]
"""Per recurrent layer its states, each (1, B, H)."""


class Network(Protocol):
    """What the stages know of any network: arrays with named axes, and how to make a network of others."""

    @property
    def architecture(self) -> Architecture:
        """What it is called in a manifest."""

    def arrays(self) -> dict[str, Array]:
        """The parameters by name as float32 arrays (copies)."""

    def declaration(self) -> Declaration:
        """The named axes of the arrays."""

    def rebuilt(self, arrays: Arrays) -> Self:
        """A network of the same architecture with the sizes and values of `arrays`."""


class LanguageModel(nn.Module, ABC):
    """A recurrent language model: maps tokens (T, B) to the logits (T, B, V) of the token after each.

    By convention the embedding is the array `embedding.weight` (V, E), the last site is `decoder`, and an axis of
    recurrent units is called `units:...`, so that sizes and counts can be told from the declaration alone.

    Every parameter is held by a module and read in `forward`, so that `torch.func.functional_call` runs the network
    with others in their place.

    Attributes:
        architecture: what it is called in a manifest.
        vocabulary: V.
        regularisation: what it trains under.
    """

    architecture: ClassVar[Architecture]
    vocabulary: int
    regularisation: Regularisation

    @abstractmethod
    def zero_state(self, batch: int) -> State:
        """The state before a text: zeros."""

    @abstractmethod
    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (T, B, V) of the token after each of `tokens` (T, B), and the state after the last step."""

    @abstractmethod
    def site_inputs(self, tokens: Tensor, state: State) -> tuple[dict[str, Tensor], State]:
        """Per site of the declaration its concatenated inputs (T, B, D), and the state after the last step."""

    @abstractmethod
    def declaration(self) -> Declaration:
        """The named axes of the arrays."""

    @abstractmethod
    def rebuilt(self, arrays: Arrays, dropout: float | Regularisation = 0.0) -> Self:
        """A model of the same architecture with the sizes and values of `arrays`, in evaluation mode."""

    def initialise(self, scale: float, generator: torch.Generator) -> None:
        """Draws every weight uniformly from (-scale, scale); biases start at zero, as in the paper's code."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if "bias" in name:
                    parameter.zero_()
                else:
                    parameter.uniform_(-scale, scale, generator=generator)

    def filled(self, arrays: Arrays) -> Self:
        """This model with the values of `arrays`, of its own sizes, in evaluation mode."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(torch.from_numpy(arrays[name]))
        return self.eval()

    def arrays(self) -> dict[str, Array]:
        """The parameters by name as float32 arrays (copies); a tied matrix once, as `embedding.weight`."""
        return {
            name: parameter.detach().cpu().numpy().astype("float32", copy=True)
            for name, parameter in self.named_parameters()
        }

    def __call__(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """`forward`, with torch's hooks."""
        result: tuple[Tensor, State] = super().__call__(tokens, state)
        return result


def detach(state: State) -> State:
    """The same state, cut from the graph: truncated back-propagation with carried state."""
    return [tuple(each.detach() for each in layer) for layer in state]
