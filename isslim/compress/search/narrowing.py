"""Narrow layers and blocks of the decoder that a recipe lets an order of removal put in.

A softmax over a large vocabulary is taken apart into blocks where that loses clearly less than one
narrow layer before all of it (`isslim.compress.pruning.blocks`).
"""

from __future__ import annotations

from isslim.compress.contract import ModelTask
from isslim.compress.pruning import blocks
from isslim.compress.pruning.axes import NarrowPlace
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.pruning.narrow import BOTTLENECK, may_narrow_softmax
from isslim.compress.pruning.network import Model, Network


def narrowing_of(
    task: ModelTask[Model], network: Model, observed: ActivationStatistics
) -> tuple[list[NarrowPlace], tuple[int, ...]]:
    """Where narrow layers may be put in, and the rows of each block of the decoder.

    Args:
        task: the uploaded model and its recipe.
        network: the original, or what is left of it.
        observed: its activations on calibration data.

    Returns:
        No places in the form of the upload; no blocks where the decoder stays in one piece.
    """
    recipe, declaration = task.recipe, network.declaration()
    if recipe.form != "free":
        return [], ()
    places = list(task.narrow_places(network)) if recipe.ranks else []
    if not (recipe.narrow_softmax and task.may_narrow and may_narrow_softmax(declaration)):
        return places, ()
    bottleneck, sizes = narrow_softmax(network, observed)
    return [*places, *bottleneck], sizes


def narrow_softmax(
    network: Network, observed: ActivationStatistics
) -> tuple[list[NarrowPlace], tuple[int, ...]]:
    """The bottleneck's place or the rows of each block, whichever a softmax is better with.

    Args:
        network: whose softmax is not narrow yet (`narrow.may_narrow_softmax`).
        observed: its activations on calibration data.
    """
    decoder = blocks.plain_decoder(network.declaration())
    if decoder is None or observed.frequencies is None:
        return [BOTTLENECK], ()
    matrix = network.arrays()[decoder.readers[0].parameter]
    read = observed.moments[decoder.name].covariance
    sizes = blocks.chosen_sizes(matrix, read, observed.frequencies)
    return ([], sizes) if len(sizes) > 1 else ([BOTTLENECK], ())
