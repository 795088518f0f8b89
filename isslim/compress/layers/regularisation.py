"""Noise during training: dropout of several kinds, one description for all architectures.

- Zaremba et al. (arXiv 1409.2329): a fresh mask at every step, on non-recurrent connections only.
- Variational (Gal & Ghahramani, arXiv 1512.05287): one mask for all steps of a sequence segment.
- Whole words of the embedding, and DropConnect on the hidden-to-hidden matrices (AWD-LSTM, arXiv
  1708.02182).

All of it is inverted dropout, so that the expectation of every value is kept and evaluation needs
no correction. Masks are random in each call and no parameter is written to, so that a dropped
weight cannot be left behind.

Legend: B batch, T steps, V vocabulary, D width of an activation.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Regularisation:
    """Probabilities of dropping; nothing is dropped in evaluation mode.

    The rates x, i, h, o of the paper's RHN are `dropout_embedding`, `dropout_input`,
    `dropout_state`, `dropout_output`.

    Attributes:
        dropout: a value between two layers; also before the first and behind the last, where these
            are not given.
        variational: one mask for all steps of a call instead of a fresh one at every step.
        dropout_embedding: a word, wherever it stands in the batch.
        dropout_input: a value that the first layer reads; None: `dropout`.
        dropout_output: a value that the decoder reads; None: `dropout`.
        dropout_state: a value of the recurrent state that the next step or depth reads, always with
            one mask for all; of recurrent highway networks only, since the native LSTM and GRU do
            not offer it.
        weight_drop: an entry of a hidden-to-hidden matrix, one mask for all steps of a call.

    Raises:
        ValueError: when a probability is not in [0, 1).
    """

    dropout: float = 0.0
    variational: bool = False
    dropout_embedding: float = 0.0
    dropout_input: float | None = None
    dropout_output: float | None = None
    dropout_state: float = 0.0
    weight_drop: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "variational" and value is not None and not 0 <= value < 1:
                raise ValueError(f"'{field.name}' is a probability in [0, 1), not {value}")

    @property
    def before_first(self) -> float:
        """The probability of dropping a value that the first layer reads."""
        return self.dropout if self.dropout_input is None else self.dropout_input

    @property
    def behind_last(self) -> float:
        """The probability of dropping a value that the decoder reads."""
        return self.dropout if self.dropout_output is None else self.dropout_output

    def embedded(self, table: Tensor, tokens: Tensor, *, training: bool) -> Tensor:
        """Looks words up, and drops whole words.

        Args:
            table: (V, E).
            tokens: int64 (T, B).
            training: whether words are dropped.

        Returns:
            (T, B, E).
        """
        rows = functional.embedding(tokens, table)
        if not training or self.dropout_embedding == 0:
            return rows
        # A word is dropped at all its positions, so the mask is over the vocabulary. Masking the
        # rows is cheaper than masking the table.
        return rows * _mask((len(table),), self.dropout_embedding, table)[tokens].unsqueeze(-1)

    def dropped(self, values: Tensor, probability: float, *, training: bool) -> Tensor:
        """Drops values of an activation, with one mask for all steps when variational.

        Args:
            values: (T, B, D).
            probability: of dropping.
            training: whether values are dropped.
        """
        if not training or probability == 0:
            return values
        if not self.variational:
            return functional.dropout(values, probability, training=True)
        return values * _mask((1, *values.shape[1:]), probability, values)

    def state_mask(self, state: Tensor, *, training: bool) -> Tensor | None:
        """The mask to multiply a recurrent state by before it is read, the same at all steps.

        Args:
            state: (B, D).
            training: whether values are dropped.

        Returns:
            (B, D); None where nothing is dropped.
        """
        if not training or self.dropout_state == 0:
            return None
        return _mask(tuple(state.shape), self.dropout_state, state)

    def connected(self, matrix: Tensor, *, training: bool) -> Tensor:
        """Drops entries of a hidden-to-hidden matrix (DropConnect).

        Args:
            matrix: of any shape.
            training: whether entries are dropped.

        Returns:
            A new tensor, through which gradients reach `matrix`.
        """
        if not training or self.weight_drop == 0:
            return matrix
        return functional.dropout(matrix, self.weight_drop, training=True)


def regularisation_of(dropout: float | Regularisation) -> Regularisation:
    """A plain number is the probability of dropout as in Zaremba et al."""
    return dropout if isinstance(dropout, Regularisation) else Regularisation(dropout=dropout)


def _mask(shape: tuple[int, ...], probability: float, like: Tensor) -> Tensor:
    """Zeros with `probability`, else 1 / (1 - probability); no gradient."""
    kept = 1 - probability
    return torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(kept).div_(kept)
