"""What an axis loses at any size, from a few measurements and the closed form's own costs.

The closed form (structured OBS) predicts well how the loss of one axis grows with what is removed,
and badly how the losses of two axes compare: an error before the decoder reaches the outputs, while
gates correct much of an error in their inputs. So its costs give the shape of a curve, and the
measurements its scale:

    loss(m) = s(m) * cost(m),   s(m) = loss / cost where it was measured

with log s linear in the removed components m between measurements, constant beyond them, and no
loss below one at fewer removed components.

Legend: M steps of removal.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
LEAST = 1e-8
"""Nats below which a measured loss is noise."""


def loss_curve(costs: Curve, measured: Mapping[int, float]) -> Curve:
    """The loss after each number of steps, which never falls.

    Args:
        costs: by the criterion, cumulative, (M + 1,), from 0.
        measured: nats by the number of steps, at least one from 1 to M; a loss that is less than
            one at fewer steps is raised to it.

    Returns:
        (M + 1,), from 0, through all that was measured.

    Raises:
        ValueError: when nothing was measured, or at steps that there are not.
    """
    steps = np.array(sorted(measured), dtype=np.int64)
    if not len(steps) or steps[0] < 1 or steps[-1] >= len(costs):
        raise ValueError(
            f"expected losses at 1 to {len(costs) - 1} steps, got them at {steps.tolist()}"
        )
    losses = np.maximum.accumulate([max(measured[step], LEAST) for step in steps.tolist()])
    # Of data too few for the units, such as a single step, the criterion is rounding errors of an
    # inverse, and may even fall.
    costs = np.maximum.accumulate(costs.clip(min=0.0))
    # Components that the criterion finds free are not: the shape is then a straight line.
    shape = costs + 1e-9 * max(float(costs[-1]), 1e-30) * np.arange(len(costs))
    everywhere = np.arange(len(costs))
    curve = shape * np.exp(np.interp(everywhere, steps, np.log(losses / shape[steps])))
    curve = np.maximum.accumulate(curve)
    curve[: steps[0]] = curve[: steps[0]].clip(max=losses[0])
    for (start, low), (end, high) in pairwise(zip(steps.tolist(), losses.tolist(), strict=True)):
        curve[start:end] = curve[start:end].clip(low, high)
    curve[steps] = losses
    curve[steps[-1] :] = curve[steps[-1] :].clip(min=losses[-1])
    return np.maximum.accumulate(curve)
