"""A small model of one's own with its data: what the programs of `docs/library.md` compress."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WORDS, TAGS = 60, 4


class Tagger(nn.Module):
    """A tag for every word of a sentence: (B, T) to (B, T, TAGS)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 16)
        self.encoder = nn.LSTM(16, 48, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(96, TAGS)

    def forward(self, sentences: Tensor) -> Tensor:
        """Scores of the tags."""
        scores: Tensor = self.tags(self.encoder(self.words(sentences))[0])
        return scores


def loss(scores: Tensor, tags: Tensor) -> Tensor:
    """Cross-entropy of the tags."""
    return nn.functional.cross_entropy(scores.flatten(0, 1), tags.flatten())


def batches(count: int = 40, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Made-up sentences of several lengths; a tag counts the words of a kind so far, modulo 4."""
    generator = torch.Generator().manual_seed(seed)
    sentences = [
        torch.randint(WORDS, (8, 10 + index % 5), generator=generator) for index in range(count)
    ]
    return [(each, (each < WORDS // 4).cumsum(1) % TAGS) for each in sentences]


def trained(epochs: int = 6) -> Tagger:
    """A tagger that was trained for a few seconds."""
    torch.manual_seed(0)
    tagger = Tagger()
    optimizer = torch.optim.Adam(tagger.parameters(), 5e-3)
    for sentences, tags in batches() * epochs:
        optimizer.zero_grad()
        loss(tagger(sentences), tags).backward()
        optimizer.step()
    return tagger
