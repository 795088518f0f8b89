"""The language model as its author would write it in PyTorch: Embedding, nn.LSTM, Linear.

Legend: B batch, T steps, V vocabulary, E embedding width, H units.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

State = tuple[Tensor, Tensor]
BATCH, STEPS = 20, 35


class PlainLanguageModel(nn.Module):
    """Maps tokens (T, B) to logits (T, B, V).

    Args:
        vocabulary: V.
        embedding: E.
        units: H of every layer.
        layers: how many.
    """

    def __init__(self, vocabulary: int, embedding: int, units: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, units, layers)
        self.decoder = nn.Linear(units, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """From a state of zeros; int64 (T, B) to float32 (T, B, V)."""
        logits: Tensor = self.decoder(self.lstm(self.embedding(tokens))[0])
        return logits

    def step(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        """From any state; None: zeros.

        Args:
            tokens: int64 (T, B).
            state: hidden and cell, float32 (layers, B, H).
        """
        features, after = self.lstm(self.embedding(tokens), state)
        return self.decoder(features), after


def save(path: Path, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Writes arrays by name, for `load`."""
    np.savez(path, allow_pickle=False, **arrays)


def load(path: Path) -> PlainLanguageModel:
    """The model whose arrays `save` wrote, by the names of its state dict."""
    with np.load(path) as arrays:
        return from_arrays(dict(arrays))


def from_arrays(arrays: Mapping[str, NDArray[np.float32]]) -> PlainLanguageModel:
    """The model of the sizes and values of the arrays, named as in its state dict."""
    layers = sum(name.startswith("lstm.weight_hh") for name in arrays)
    units = arrays["lstm.weight_hh_l0"].shape[1]
    vocabulary, embedding = arrays["embedding.weight"].shape
    model = PlainLanguageModel(vocabulary, embedding, units, layers)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return model.eval()


def arrays_of(model: PlainLanguageModel) -> dict[str, NDArray[np.float32]]:
    """The arrays of the state dict, by name."""
    return {name: weights.numpy(force=True) for name, weights in model.state_dict().items()}


def tune(model: PlainLanguageModel, ids: NDArray[np.int64], seconds: float) -> int:
    """Trains the model on by the clock: Adam on cross-entropy, a rate that falls to zero.

    Args:
        model: trained in place.
        ids: int64 (N,), the training text, cut into `BATCH` streams.
        seconds: of wall-clock time.

    Returns:
        Steps of the optimizer.
    """
    rows = (len(ids) - 1) // BATCH
    tokens, targets = (
        torch.from_numpy(part[: rows * BATCH].reshape(BATCH, rows).T.copy())
        for part in (ids[:-1], ids[1:])
    )
    optimizer = torch.optim.Adam(model.parameters())
    began, done, first = time.monotonic(), 0, 0
    state: State | None = None
    while (share := (time.monotonic() - began) / max(seconds, 1e-9)) < 1:
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - share)
        part = slice(first, first + STEPS)
        logits, state = model.step(tokens[part], state)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets[part].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        first, done = first + STEPS, done + 1
        state = (state[0].detach(), state[1].detach()) if first < rows - 1 else None
        first = first if first < rows - 1 else 0
    return done
