"""What a small reader loses of the original's predictions, with no noise of answers.

The loss is the original's cross-entropy with the other model less its entropy, of the first and of
the last token, in nats per question: what negative log-likelihood rises by in expectation where the
original's probabilities are right. It needs no answers, and is 0 of the original. Over the tokens
of a context the sum is exact, so that a few hundred questions tell small losses apart.

Legend: B batch, T tokens of a context.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isslim.compress.devices import placed
from isslim.compress.kinds.questions.examples import Questions, batches
from isslim.compress.kinds.questions.networks.bidaf import Bidaf

BATCH = 32
"""B."""


class PredictionLoss:
    """Compares networks with the original on questions.

    Args:
        original: the model.
        questions: with or without answers.
    """

    def __init__(self, original: Bidaf, questions: Questions) -> None:
        self._questions = questions
        self._batches = batches([len(each.context_row) for each in questions.examples], BATCH)
        self._expected = self._predictions(original)

    def of(self, network: Bidaf) -> float:
        """Nats per question that a network loses; 0 of the original."""
        found = self._predictions(network)
        lost = 0.0
        for ours, theirs in zip(found, self._expected, strict=True):
            share = theirs.exp()
            # Probabilities of padding are 0, and 0 times its logarithm is not a number.
            lost += float(torch.where(share > 0, share * (theirs - ours), 0.0).sum())
        return lost / len(self._questions.examples)

    @torch.no_grad()
    def _predictions(self, network: Bidaf) -> list[Tensor]:
        """Log-probabilities of every batch, float64 (2, B, T): of the first and the last token."""
        network.eval()
        with placed(network) as device:
            return [
                torch.stack(network.distinct(*self._questions.distinct(chosen, device)))
                .double()
                .cpu()
                for chosen in self._batches
            ]
