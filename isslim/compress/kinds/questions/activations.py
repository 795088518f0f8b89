"""Collects the moments of BiDAF's activations that selection and repair need; needs no answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import torch

from isslim.compress.devices import device_of
from isslim.compress.kinds.questions.examples import Questions, batches
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.pruning.moments import ActivationStatistics, GatheredMoments, Moments

BATCH = 32


@torch.no_grad()
def collect_question_activations(
    network: Bidaf, questions: Questions, progress: Callable[[float], None] | None = None
) -> ActivationStatistics:
    """Collects moments over every token of the questions and their contexts, without padding.

    Args:
        network: the unpruned network.
        questions: with or without answers.
        progress: called with the share done, 0 to 1.
    """
    device = device_of(network)
    gathered = defaultdict[str, GatheredMoments](GatheredMoments)
    moments: dict[str, Moments] = {}
    order, seen = batches([len(example.context_row) for example in questions.examples], BATCH), 0
    for done, chosen in enumerate(order):
        inputs = questions.inputs(chosen, device)
        for site, each in network.site_inputs(*inputs).items():
            rows = each.cpu().numpy()
            # Neighbouring rows are alike, so a single batch is divided in the middle, into
            # different questions.
            if len(order) == 1:
                moments[site] = Moments.of(rows)
            else:
                gathered[site].add(rows)
        seen += int(inputs[2].sum() + inputs[5].sum())
        if progress is not None:
            progress((done + 1) / len(order))
    moments |= {site: each.moments() for site, each in gathered.items()}
    return ActivationStatistics(moments, seen)
