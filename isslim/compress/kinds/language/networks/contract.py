"""What every language model offers to the stages. A new architecture implements this class and registers an exporter.

The stages know no architecture: they train and score through `forward`, observe through
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
    """A recurrent language model: maps tokens (T, B) to the logits (T, B, V) of the token after each.

    By convention the embedding is the array `embedding.weight` (V, E), the last site is `decoder`,
    and an axis of recurrent units is called `units:...`, so that sizes and counts can be told from
    the declaration alone.

    Every parameter is held by a module and read in `forward`, so that `torch.func.functional_call`
    runs the network with others in their place.

    Attributes:
        vocabulary: V.
        regularisation: what it trains under.
    """

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
    def rebuilt(self, arrays: Arrays, dropout: float | Regularisation = 0.0) -> Self:
        """A model of the same architecture with the sizes and values of `arrays`, in evaluation mode."""

    def __call__(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """`forward`, with torch's hooks."""
        result: tuple[Tensor, State] = super().__call__(tokens, state)
        return result
