"""Modules of a user's own, what they are called with, and how they are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

WORDS, TAGS = 30, 4
Call = tuple[Tensor, ...]


class Tagger(nn.Module):
    """Tags for every word of sentences of different lengths, packed: (B, T) to (B, T, TAGS)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 10)
        self.encoder = nn.LSTM(10, 20, bidirectional=True, batch_first=True)
        self.scores = nn.Linear(40, TAGS)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embedding(ids), lengths, batch_first=True, enforce_sorted=False
        )
        outputs, _ = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        return self.scores(outputs)  # type: ignore[no-any-return]


class Crnn(nn.Module):
    """Convolutions over an image whose columns are the steps: (B, 1, 8, W) to (B, W / 2, TAGS)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.recurrent = nn.LSTM(16, 16, bidirectional=True, batch_first=True)
        self.scores = nn.Linear(32, TAGS)

    def forward(self, images: Tensor) -> Tensor:
        columns = self.features(images).flatten(1, 2).transpose(1, 2)
        return self.scores(self.recurrent(columns)[0])  # type: ignore[no-any-return]


class WordLanguageModel(nn.Module):
    """The layout of PyTorch's example word_language_model: tokens (T, B) to log-probabilities."""

    def __init__(
        self, tokens: int, width: int = 16, units: int = 24, *, tied: bool = False
    ) -> None:
        super().__init__()
        self.nhid = units
        self.drop = nn.Dropout(0.1)
        self.encoder = nn.Embedding(tokens, width)
        self.rnn = nn.LSTM(width, units, 2, dropout=0.1)
        self.decoder = nn.Linear(units, tokens)
        if tied:
            self.decoder.weight = self.encoder.weight

    def forward(
        self, tokens: Tensor, hidden: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        outputs, hidden = self.rnn(self.drop(self.encoder(tokens)), hidden)
        scores = self.decoder(self.drop(outputs)).view(-1, self.decoder.out_features)
        return torch.log_softmax(scores, 1), hidden

    def zero_state(self, batch: int) -> tuple[Tensor, Tensor]:
        zeros = torch.zeros(2, batch, self.nhid)
        return zeros, zeros.clone()


class AwdLstm(nn.Module):
    """AWD-LSTM's plain layout, without its dropped weights: layers of their own, tied ends."""

    def __init__(self, tokens: int, width: int = 16, units: int = 24) -> None:
        super().__init__()
        self.encoder = nn.Embedding(tokens, width)
        self.rnns = nn.ModuleList([nn.LSTM(width, units), nn.LSTM(units, width)])
        self.decoder = nn.Linear(width, tokens)
        self.decoder.weight = self.encoder.weight

    def forward(
        self, tokens: Tensor, state: Sequence[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        outputs, states = self.encoder(tokens), []
        for layer, own in zip(self.rnns, state, strict=True):
            outputs, own = layer(outputs, own)
            states.append(own)
        return self.decoder(outputs), states

    def zero_state(self, batch: int) -> list[tuple[Tensor, Tensor]]:
        sizes = [layer.hidden_size for layer in self.rnns]
        return [(torch.zeros(1, batch, n), torch.zeros(1, batch, n)) for n in sizes]


def sentences(count: int, seed: int) -> list[Call]:
    """Batches of words with their lengths."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        lengths = torch.randint(4, 11, (6,), generator=generator)
        ids = torch.randint(WORDS, (6, int(lengths.max())), generator=generator)
        found.append((ids, lengths))
    return found


def images(count: int, seed: int) -> list[Call]:
    """Batches of images of different widths."""
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(4, 1, 8, 12 + 2 * (n % 3), generator=generator),) for n in range(count)]


def tagging_loss(module: nn.Module, call: Call) -> Tensor:
    """Tags count the words of a kind so far."""
    wanted = (call[0] < WORDS // 3).cumsum(1) % TAGS
    return cross_entropy(module(*call).flatten(0, 1), wanted.flatten())


def image_loss(module: nn.Module, call: Call) -> Tensor:
    """Tags count the bright columns so far."""
    bright = call[0].mean((1, 2)).unfold(1, 2, 2).mean(2) > 0
    return cross_entropy(module(*call).flatten(0, 1), (bright.cumsum(1) % TAGS).flatten())


def epoch(module: Any, calls: Sequence[Any], loss: Callable[[Any, Any], Tensor]) -> float:
    """One pass of Adam over the calls; the mean loss of all of them before it."""
    before = mean_loss(module, calls, loss)
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    module.train()
    for call in calls:
        optimizer.zero_grad()
        loss(module, call).backward()
        optimizer.step()
    module.eval()
    return before


def mean_loss(module: Any, calls: Sequence[Any], loss: Callable[[Any, Any], Tensor]) -> float:
    """The mean loss of the calls."""
    with torch.no_grad():
        return sum(float(loss(module, call)) for call in calls) / len(calls)


def trained(
    module: nn.Module, calls: Sequence[Any], loss: Callable[[Any, Any], Tensor], epochs: int = 15
) -> nn.Module:
    """The module after some epochs, in evaluation mode: units of random weights are all alike."""
    for _ in range(epochs):
        epoch(module, calls, loss)
    return module.eval()
