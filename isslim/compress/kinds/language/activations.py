"""Collects the moments of a language model's activations that selection and repair need.

One forward pass over calibration text with carried state; no label, no gradient. (The Fisher
information of the activations was tried as the sensitivity in place of the readers' own energy: it
needs a step-by-step backward pass and chose slightly worse units on Penn Treebank.)

Legend: B batch, T steps, N tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from isslim.compress.devices import device_of
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.training.evaluation import in_streams
from isslim.compress.pruning.moments import ActivationStatistics, Moments
from isslim.compress.statistics.pieces import Pieces
from isslim.compress.training.state import State

UNSEEN_SHARE = 0.01
"""Share of the observed tokens that may be ones which the text lacks."""


@torch.no_grad()
def collect_activations(
    network: LanguageModel,
    text: Tensor | Pieces,
    *,
    whole: Tensor | None = None,
    streams: int = 20,
    window: int = 35,
    progress: Callable[[float], None] | None = None,
) -> ActivationStatistics:
    """Collects moments over a calibration text with carried state.

    Tokens of the vocabulary that do not occur in it are observed too, from states of the text's
    end, up to `UNSEEN_SHARE` of the whole: a text never holds every token that the model will be
    given, and components that only those use would be removed first.

    Args:
        network: the unpruned model.
        text: calibration tokens: pieces of a text, or int64 (N,), which is read as up to `streams`
            streams.
        whole: int64 (N,), the text that the pieces are from, for the frequencies of its tokens;
            None: `text` itself.
        streams: B; fewer when the text is short.
        window: T, steps per pass.
        progress: called with the share done, 0 to 1.

    Raises:
        ValueError: when there is no token.
    """
    tokens = text.flat if isinstance(text, Pieces) else text
    if len(tokens) < 1:
        raise ValueError("calibration needs at least one token")
    network.eval()
    if isinstance(text, Pieces):
        rows, warm = text.rows, text.warm
    else:
        rows, warm = in_streams(text, max(1, min(streams, len(text) // (window + 1)))), 0
    rows = rows.to(device_of(network))
    state = network.zero_state(rows.shape[1])
    moments: dict[str, Moments] = {}

    def gather(observations: dict[str, Tensor]) -> None:
        # Several sites may read one tensor, such as the blocks of a decoder.
        known: dict[int, Moments] = {}
        for site, each in observations.items():
            if id(each) not in known:
                known[id(each)] = _moments_of(each)
            new = known[id(each)]
            moments[site] = moments[site] + new if site in moments else new

    if warm:
        _, state = network.site_inputs(rows[:warm], state)
    for start in range(warm, len(rows), window):
        observations, state = network.site_inputs(rows[start : start + window], state)
        gather(observations)
        if progress is not None:
            progress(min(1.0, (start + window) / len(rows)))
    unseen = _unseen(tokens, network.vocabulary).to(rows.device)
    if len(unseen):
        gather(network.site_inputs(unseen[None], _dealt(state, len(unseen)))[0])
    counted = torch.bincount(tokens if whole is None else whole, minlength=network.vocabulary)
    return ActivationStatistics(
        moments, (len(rows) - warm) * rows.shape[1], counted.double().numpy()
    )


def _moments_of(values: Tensor) -> Moments:
    """The moments of values (T, B, D), in two halves that are different parts of the text."""
    steps, streams, _ = values.shape
    rows = values.transpose(0, 1).flatten(0, 1)  # stream by stream
    return Moments.of(rows.cpu().numpy(), streams // 2 * steps or None)


def _unseen(tokens: Tensor, vocabulary: int) -> Tensor:
    """Tokens that the text lacks, int64 (K,), K at most `UNSEEN_SHARE` of its tokens.

    Of too many an evenly spread selection; few are repeated.
    """
    missing = torch.nonzero(torch.bincount(tokens, minlength=vocabulary) == 0).flatten()
    most = int(UNSEEN_SHARE * len(tokens))
    if len(missing) > most:
        return (
            missing[torch.linspace(0, len(missing) - 1, most).round().long()]
            if most
            else missing[:0]
        )
    return missing.repeat(max(1, most // vocabulary))


def _dealt(state: State, number: int) -> State:
    """The states of B streams, repeated for `number` streams of one step."""
    return [
        tuple(each[:, torch.arange(number, device=each.device) % each.shape[1]] for each in layer)
        for layer in state
    ]
