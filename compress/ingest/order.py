"""The order of the recurrent modules of an upload, from the bottom to the top: told, proven, or asked for; never guessed.

Modules of equal shapes run in any order without an error and give another model, so that names like `lstm_one, lstm_two,
lstm_three` must not be sorted. In turn are believed: the config's `layers`; numbers in which alone the names differ; shapes
that fit together in one way only; and the order of a state dict, which is that in which the model made its modules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations, pairwise, permutations

import numpy as np
from numpy.typing import NDArray

MOST_TRIED = 6
"""Modules whose every order is tried against the shapes: 720 orders. More than that, unnumbered, have to be told."""

Layer = dict[str, NDArray[np.float32]]
"""Parameters of a recurrent layer: `weight_ih`, `weight_hh`, and `bias_ih`, `bias_hh`, `weight_hr` where it has them."""


class OrderUnknown(ValueError):
    """Nothing says in which order the modules run, or what the config says names others."""


def order_modules(
    modules: Mapping[str, Mapping[int, Layer]],
    matrices: list[tuple[int, ...]],
    told: list[str] | None,
    *,
    in_order: bool,
) -> list[str]:
    """The modules' names from the bottom to the top.

    Args:
        modules: by name, in the order of the file, the layers of each by their numbers from 0.
        matrices: shapes (rows, columns) of the parameters of no layer: embedding and decoder are among them.
        told: the config's `layers`.
        in_order: whether the order of the file is that in which the model made its modules.

    Raises:
        OrderUnknown: with what was found and what to do.
    """
    names = list(modules)
    shown = ", ".join(f"'{name}'" for name in names)
    if told is not None:
        if sorted(told) != sorted(names):
            raise OrderUnknown(f"the config's layers are {told}; each of {shown} is expected once")
        return told
    for one, other in combinations(names, 2):
        if _same(modules[one], modules[other]):
            raise OrderUnknown(
                f"'{one}' and '{other}' hold the same weights: one module under two names, or one that runs twice? "
                'Remove a name from the file, or list both in the config: {"layers": [...]}'
            )
    if len({re.sub(r"\d+", "#", name) for name in names}) == 1:
        return sorted(names, key=lambda name: [int(digits) for digits in re.findall(r"\d+", name)])
    fitting = _fitting(modules, matrices)
    if len(fitting) == 1:
        return list(fitting[0])
    if in_order:
        return names
    raise OrderUnknown(
        f"the order of the recurrent modules {shown} is not known: their names differ in more than a number, their shapes "
        "do not force one, and the file is sorted by name. Say it in the config, from the bottom to the top: "
        '{"layers": [...]}'
    )


def gives(layer: Layer) -> int:
    """The width of what a layer gives."""
    return int(layer.get("weight_hr", layer["weight_hh"].T).shape[0])


def _same(one: Mapping[int, Layer], other: Mapping[int, Layer]) -> bool:
    """Whether two modules are equal in every value; trained apart they never are."""
    return one.keys() == other.keys() and all(
        one[index].keys() == other[index].keys()
        and all(np.array_equal(array, other[index][kind]) for kind, array in one[index].items())
        for index in one
    )


def _fitting(modules: Mapping[str, Mapping[int, Layer]], matrices: list[tuple[int, ...]]) -> list[tuple[str, ...]]:
    """Every order in which each module reads what the one below gives; none when there are too many to try."""
    if len(modules) > MOST_TRIED:
        return []
    reads = {name: layers[0]["weight_ih"].shape[1] for name, layers in modules.items()}
    given = {name: gives(layers[max(layers)]) for name, layers in modules.items()}
    first = {
        size for shape in matrices for size in shape
    }  # an embedding's columns; with one-hot input a decoder's rows
    last = {columns for _, columns in matrices}
    return [
        order
        for order in permutations(modules)
        if reads[order[0]] in first
        and given[order[-1]] in last
        and all(given[below] == reads[above] for below, above in pairwise(order))
    ]
