"""Perplexity inside training and search: quick, batched, with carried state.

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
"""Logits that are held in memory at once: 32 MiB."""


def in_streams(tokens: Tensor, batch: int) -> Tensor:
    """Cuts a text into contiguous streams side by side; an incomplete last row is dropped.

    Args:
        tokens: (N,).
        batch: B.

    Returns:
        (N // B, B).
    """
    rows = len(tokens) // batch
    return tokens[: rows * batch].view(batch, rows).t().contiguous()


def perplexity_on_device(network: LanguageModel, tokens: Tensor) -> float:
    """`perplexity` on the GPU where there is one.

    Args:
        network: left on the device where it was, in evaluation mode.
        tokens: int64 (N,).
    """
    with placed(network):
        return perplexity(network, tokens)


@torch.no_grad()
def log_probs(network: LanguageModel, pieces: Pieces) -> NDArray[np.float64]:
    """Natural log-probabilities of the tokens in pieces of a text, on the GPU where there is one.

    Args:
        network: left in evaluation mode.
        pieces: N tokens behind their warm-up.

    Returns:
        (N,), in the order of the text.
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
    """The perplexity of all tokens but the first of each stream, with carried state.

    A quick estimate, since every stream starts from the zero state; published figures come from
    `isslim/runtime/`.

    Args:
        network: left in evaluation mode.
        tokens: int64 (N,).
        streams: B; fewer when the text is short.
        steps: T of one pass.
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
