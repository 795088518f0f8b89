"""The interface of a language model; a new architecture implements it and registers an exporter.

The stages know no architecture: they train and score through `forward`, collect activations through
`site_inputs`, and prune arrays by their `declaration`.

Legend: B batch, T steps, V vocabulary, D width of a site's concatenated inputs.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

from torch import Tensor

from isslim.compress.layers.regularisation import Regularisation
from isslim.compress.pruning.axes import Arrays
from isslim.compress.training.network import TrainableNetwork
from isslim.compress.training.state import State


class LanguageModel(TrainableNetwork):
    """A recurrent language model: maps tokens (T, B) to logits (T, B, V) of each one's successor.

    Embedding and decoder have the names of `isslim.compress.kinds.language.networks.names`, and
    axes of recurrent units those of `isslim.types.axis_names`, so that sizes and counts follow from
    the declaration alone.

    Every parameter is held by a module and read in `forward`, so that `torch.func.functional_call`
    runs the network with others in their place.

    Attributes:
        vocabulary: V.
        regularisation: the noise during training.
    """

    vocabulary: int
    regularisation: Regularisation

    @abstractmethod
    def zero_state(self, batch: int) -> State:
        """The state before a text: float32 zeros for B sequences."""

    @abstractmethod
    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Runs all steps.

        Args:
            tokens: int64 (T, B).
            state: before the first step.

        Returns:
            Logits (T, B, V) of the token after each, and the state after the last step.
        """

    @abstractmethod
    def site_inputs(self, tokens: Tensor, state: State) -> tuple[dict[str, Tensor], State]:
        """Runs all steps and gives what each site reads.

        Args:
            tokens: int64 (T, B).
            state: before the first step.

        Returns:
            By site of the declaration its concatenated inputs (T, B, D), and the state after the
            last step.
        """

    @abstractmethod
    def rebuilt(self, arrays: Arrays, dropout: float | Regularisation = 0.0) -> Self:
        """A model of the same architecture with other sizes and values.

        Args:
            arrays: by name, of any sizes that fit together.
            dropout: the noise during training; a number is the probability of dropping a
                non-recurrent activation.

        Returns:
            The model, in evaluation mode.
        """

    def __call__(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """`forward`, with torch's hooks."""
        result: tuple[Tensor, State] = super().__call__(tokens, state)
        return result
