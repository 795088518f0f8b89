"""Runs a language model over calibration text and gathers the moments that selection and repair need.

One forward pass with carried state; no label, no gradient. (The Fisher information of the activations was tried as
the sensitivity in place of the readers' own energy: it needs a step-by-step backward pass and chose slightly worse
units on Penn Treebank.)

Legend: B batch, T steps, N tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.devices import device_of
from compress.moments import Moments
from compress.networks.contract import LanguageModel
from compress.training.evaluation import in_streams


@dataclass(frozen=True)
class Observed:
    """What calibration text says of a model.

    Attributes:
        moments: per site, the moments of its concatenated inputs.
        tokens: how many tokens were seen.
        frequencies: how often each token of the vocabulary was, (V,); None where there are no tokens to count.
    """

    moments: dict[str, Moments]
    tokens: int
    frequencies: NDArray[np.float64] | None = None


@torch.no_grad()
def observe(
    network: LanguageModel,
    tokens: Tensor,
    *,
    streams: int = 20,
    window: int = 35,
    progress: Callable[[float], None] | None = None,
) -> Observed:
    """Gathers moments over `tokens` (N,), read as up to `streams` streams with carried state.

    Args:
        network: the unpruned model.
        tokens: int64 (N,) calibration tokens.
        streams: B; fewer when the text is short.
        window: steps per pass.
        progress: called with the share done.

    Raises:
        ValueError: when there is no token.
    """
    if len(tokens) < 1:
        raise ValueError("calibration needs at least one token")
    network.eval()
    rows = in_streams(tokens, max(1, min(streams, len(tokens) // (window + 1))))
    rows = rows.to(device_of(network))
    state = network.zero_state(rows.shape[1])
    moments: dict[str, Moments] = {}
    for start in range(0, len(rows), window):
        observations, state = network.site_inputs(rows[start : start + window], state)
        for site, each in observations.items():
            # Stream by stream, so that the halves are different stretches of the text.
            new = Moments.of(
                each.transpose(0, 1).flatten(0, 1).cpu().numpy(), each.shape[1] // 2 * each.shape[0] or None
            )
            moments[site] = moments[site] + new if site in moments else new
        if progress is not None:
            progress(min(1.0, (start + window) / len(rows)))
    frequencies = torch.bincount(tokens, minlength=network.vocabulary).double().numpy()
    return Observed(moments, rows.numel(), frequencies)
