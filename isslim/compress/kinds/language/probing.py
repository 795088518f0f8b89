"""What a small language model loses of the original's predictions, with little noise.

The loss is the original's cross-entropy with the other model less its entropy, in nats per token:
what a rise of log-perplexity is in expectation where the original's probabilities are right. Tokens
drawn from the original's prediction stand for all: of each position several, always the same. With
r the ratio of a drawn token's probabilities, the loss is the mean of r - 1 - log r, whose terms are
never negative: a few thousand positions tell losses of a ten-thousandth of a nat apart, which the
one token of the text does not.

Legend: T steps, B pieces, S drawn tokens of a position.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from isslim.compress.devices import placed
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.statistics.pieces import Pieces
from isslim.compress.training.state import State

DRAWN = 16
"""S."""
ENTRIES = 4_000_000
"""Logits of one pass at most."""


class PredictionLoss:
    """Compares networks with the original on pieces of a text.

    Args:
        original: the model.
        pieces: of a text.
        seed: of the tokens that are drawn.
    """

    def __init__(self, original: LanguageModel, pieces: Pieces, seed: int) -> None:
        self._pieces = pieces
        self._drawn: list[tuple[Tensor, Tensor]] = []
        generator = torch.Generator().manual_seed(seed)
        for logs in self._passes(original):
            tokens = torch.multinomial(
                logs.exp().flatten(0, 1), DRAWN, replacement=True, generator=generator
            ).view(*logs.shape[:2], DRAWN)
            self._drawn.append((tokens, logs.gather(2, tokens).double()))

    def of(self, network: LanguageModel) -> float:
        """Nats per token that a network of the same vocabulary loses; 0 of the original."""
        found, count = 0.0, 0
        for logs, (tokens, before) in zip(self._passes(network), self._drawn, strict=True):
            higher = logs.gather(2, tokens).double() - before
            # The expectation of exp(higher) is 1: taking it away leaves hardly any noise.
            found += float((higher.expm1() - higher).sum())
            count += tokens.numel()
        return found / count

    @torch.no_grad()
    def _passes(self, network: LanguageModel) -> Iterator[Tensor]:
        """Log-probabilities of all tokens at each position, (T, B, V), a few steps at a time."""
        network.eval()
        rows, warm = self._pieces.rows, self._pieces.warm
        steps = max(1, min(70, ENTRIES // (network.vocabulary * rows.shape[1])))
        with placed(network) as device:
            state: State = network.zero_state(rows.shape[1])
            # The prediction of a piece's first token is made at the one before it.
            if warm > 1:
                _, state = network(rows[: warm - 1].to(device), state)
            for start in range(warm - 1, len(rows) - 1, steps):
                end = min(start + steps, len(rows) - 1)
                logits, state = network(rows[start:end].to(device), state)
                yield logits.log_softmax(dim=-1).cpu()
