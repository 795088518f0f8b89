"""Perplexity for use inside training and search: quick, batched, with carried state.

Legend: B streams side by side, N tokens.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isslim.compress.devices import device_of, placed
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.statistics.perplexity import perplexity_of
from isslim.compress.statistics.pieces import Pieces
from isslim.compress.training.state import State

LOGITS = 1 << 23
"""How many logits are held at once: 32 MiB."""


def in_streams(tokens: Tensor, batch: int) -> Tensor:
    """(N,) -> (N // B, B): B contiguous streams side by side; the tail that does not fill a row is dropped."""
    rows = len(tokens) // batch
    return tokens[: rows * batch].view(batch, rows).t().contiguous()


def perplexity_on_device(network: LanguageModel, tokens: Tensor) -> float:
    """`perplexity`, by the GPU where there is one."""
    with placed(network):
        return perplexity(network, tokens)


@torch.no_grad()
def log_probs(network: LanguageModel, pieces: Pieces) -> NDArray[np.float64]:
    """Natural log-probabilities (N,) of the tokens that pieces look at, in the order of the text; by the GPU if there is one.

    The network is left in evaluation mode.
    """
    network.eval()
    with placed(network) as device:
        rows = pieces.rows.to(device)
        state: State = network.zero_state(rows.shape[1])
        steps = max(1, min(70, LOGITS // (network.vocabulary * rows.shape[1])))
        found = []
        for start in range(0, len(rows) - 1, steps):
            labels = rows[start + 1 : start + steps + 1]
            logits, state = network(rows[start : start + len(labels)], state)
            losses = nn.functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), reduction="none"
            )
            found.append(-losses.view(labels.shape).double().cpu())
    return torch.cat(found)[pieces.warm - 1 :].t().flatten().numpy()


@torch.no_grad()
def perplexity(network: LanguageModel, tokens: Tensor, streams: int = 10, steps: int = 70) -> float:
    """Exp of the mean negative log-likelihood of `tokens` (N,) after the first of each stream, state carried.

    A quick estimate: every stream starts from the zero state. The figure that is published comes
    from `runtime`. The network is left in evaluation mode.
    """
    network.eval()
    device = device_of(network)
    rows = in_streams(tokens, max(1, min(streams, len(tokens) // 2))).to(device)
    state: State = network.zero_state(rows.shape[1])
    total = 0.0
    for start in range(0, len(rows) - 1, steps):
        labels = rows[start + 1 : start + steps + 1]
        logits, state = network(rows[start : start + len(labels)], state)
        total += float(
            nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        )
    return perplexity_of(total / ((len(rows) - 1) * rows.shape[1]))
