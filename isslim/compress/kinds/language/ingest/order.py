"""The order of the recurrent modules of an upload, from the bottom to the top; never guessed.

Modules of equal shapes run in any order, or side by side, without an error and give another model.
The first of these that applies decides: the config's `layers`; numbers, as digits or words, where
the names differ in nothing else; shapes that fit together in one way only. Otherwise the user has
to declare the order. That of a state dict shows in which order modules were made, and not which one
feeds which: a forward and a backward module follow each other, too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from itertools import combinations, pairwise, permutations

import numpy as np
from numpy.typing import NDArray

MAX_TRIED = 6
"""Modules whose every order is tried against the shapes: 720 orders. The order of more than that,
unnumbered, has to be declared."""
_NUMBER_WORDS = (
    ("first", "one", "bottom", "lower"),
    ("second", "two", "middle", "mid"),
    ("third", "three", "top", "upper"),
    ("fourth", "four"),
    ("fifth", "five"),
    ("sixth", "six"),
    ("seventh", "seven"),
    ("eighth", "eight"),
)
_WORDS = {
    word: str(number) for number, words in enumerate(_NUMBER_WORDS, start=1) for word in words
}
_PLACES = {"bottom", "lower", "middle", "mid", "top", "upper"}
_SIDES = re.compile(
    r"forward|backward|encoder|decoder|reverse|"
    r"(?:^|[._\d])(fwd?|bwd?|fw|bw|left|right|l2r|r2l|ltr|rtl|enc|dec|src|tgt|source|target|"
    r"question|context|query|passage|student|teacher|generator|discriminator|online|actor|critic|"
    r"policy|value|ema|shadow|past|future|premise|hypothesis|word|char|characters?|local|global)"
    r"(?=$|[._\d])"
)
"""Names of modules that run side by side, or are of another model."""

LayerTensors = dict[str, NDArray[np.float32]]
"""Parameters of a recurrent layer: `weight_ih`, `weight_hh`, and `bias_ih`, `bias_hh`, `weight_hr`
where it has them."""


class OrderUnknown(ValueError):
    """The order of the modules is not known, one is missing, or the config names others."""


def order_modules(
    modules: Mapping[str, Mapping[int, LayerTensors]],
    matrices: list[tuple[int, ...]],
    others: Collection[str],
    configured: list[str] | None,
) -> list[str]:
    """Orders modules from the bottom to the top.

    Args:
        modules: by name, in the order of the file, the layers of each by their numbers from 0.
        matrices: shapes (rows, columns) of the parameters of no layer: embedding and decoder are
            among them.
        others: names of the parameters of no layer.
        configured: the config's `layers`.

    Returns:
        Their names.

    Raises:
        OrderUnknown: with what was found and what to do.
    """
    names = list(modules)
    shown = ", ".join(f"'{name}'" for name in names)
    if configured is not None:
        if sorted(configured) != sorted(names):
            raise OrderUnknown(
                f"the config's layers are {configured}; each of {shown} is expected once"
            )
        return configured
    for one, other in combinations(names, 2):
        if _same(modules[one], modules[other]):
            raise OrderUnknown(
                f"'{one}' and '{other}' hold the same weights: one module under two names, or one "
                "that runs twice? "
                'Remove a name from the file, or list both in the config: {"layers": [...]}'
            )
    if sided := [name for name in names if _SIDES.search(_last(name, names))]:
        if len(names) > 1:
            raise OrderUnknown(
                f"the recurrent modules {shown} may run side by side (two directions, or an "
                "encoder and a decoder), which is no "
                "stack of layers. If each reads what the one before it gives, say so in the "
                "config, from the bottom to the top: "
                f'{{"layers": {_json(names)}}}'
            )
        if re.search(r"backward|bwd?$|bw$|revers|r2l|rtl", sided[0]):
            raise OrderUnknown(
                f"'{sided[0]}' reads a text backwards by its name, and texts are read forwards "
                "here. If it reads forwards, say "
                f'so in the config: {{"layers": {_json(names)}}}'
            )
    if (numbered := _numbered(names)) is not None:
        _refuse_gaps(numbered, others)
        return sorted(names, key=lambda name: numbered[name])
    fitting = _fitting(modules, matrices)
    if len(fitting) == 1:
        return list(fitting[0])
    raise OrderUnknown(
        f"the order of the recurrent modules {shown} is not known: their names differ in more than "
        "a number, and their shapes do "
        'not force one. Say it in the config, from the bottom to the top: {"layers": [...]}'
    )


def gives(layer: LayerTensors) -> int:
    """The number of values that a layer gives: its units, or the width of its projection."""
    return int(layer.get("weight_hr", layer["weight_hh"].T).shape[0])


def _json(names: list[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _last(name: str, names: list[str]) -> str:
    """A name without the modules that all names share: those of one encoder are no sides."""
    parts = [each.lower().split(".") for each in names]
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    shared = 0
    while len(names) > 1 and all(
        len(each) > shared + 1 and each[shared] == parts[0][shared] for each in parts
    ):
        shared += 1
    return ".".join(name.lower().split(".")[shared:])


def _numbered(names: list[str]) -> dict[str, list[int]] | None:
    """The numbers in the names, where the names differ in nothing else; None otherwise.

    A name without a number is the one before the smallest: `lstm` beside `lstm2`.
    """
    plain = {name: _digits(name) for name in names}
    shapes = {re.sub(r"\d+", "#", text) for text in plain.values()}
    if len(shapes) == 1:
        return {
            name: [int(digits) for digits in re.findall(r"\d+", text)]
            for name, text in plain.items()
        }
    bare = [name for name, text in plain.items() if not re.search(r"\d", text)]
    rest = {re.sub(r"[_-]?\d+", "", text) for name, text in plain.items() if name not in bare}
    if len(bare) != 1 or rest != {plain[bare[0]]}:
        return None
    numbers = {
        name: [int(re.findall(r"\d+", text)[-1])]
        for name, text in plain.items()
        if name not in bare
    }
    return {bare[0]: [min(numbers.values())[0] - 1], **numbers}


def _digits(name: str) -> str:
    """A name in lower case, with words for numbers as digits."""
    pieces = re.split(r"([._\-\d]+)", name.lower())
    return "".join(_WORDS.get(piece, piece) for piece in pieces)


def _refuse_gaps(numbered: Mapping[str, list[int]], others: Collection[str]) -> None:
    """Refuses a gap in the numbers, unless another parameter in the file has the missing number.

    Raises:
        OrderUnknown: with the number.
    """
    columns = list(zip(*numbered.values(), strict=True))
    varying = [index for index, column in enumerate(columns) if len(set(column)) > 1]
    if len(numbered) == 1:
        # `rnns.1` alone: a list of modules begins at 0. A number inside a name, as in `lstm2`, may
        # mean anything.
        name = next(iter(numbered))
        match = re.search(r"^(.*?)(?:^|\.)(\d+)(?=\.|$)", name)
        if match is None or int(match[2]) == 0 or not match[1]:
            return
        varying = [len(re.findall(r"\d+", match[1]))]
    if len(varying) != 1:
        return
    found = sorted({numbers[varying[0]] for numbers in numbered.values()})
    first = next(iter(numbered))
    start = min(
        found[0],
        0 if re.search(rf"\.{found[0]}(\.|$)", min(numbered, key=lambda n: numbered[n])) else 1,
    )
    groups = list(re.finditer(r"\d+", first))
    before = first[: groups[varying[0]].start()] if len(groups) > varying[0] else None
    if before is None and any(
        word in _PLACES for name in numbered for word in re.split(r"[^a-z]+", name.lower())
    ):
        return  # `lower` and `upper` leave none out
    missing = [
        number
        for number in range(start, found[-1])
        if number not in found
        and (before is None or not any(name.startswith(f"{before}{number}.") for name in others))
    ]
    if missing:
        example = ", ".join(f"'{name}'" for name in numbered)
        raise OrderUnknown(
            f"of the recurrent modules only {example} {'is' if len(numbered) == 1 else 'are'} in "
            "the file: number "
            f"{', '.join(map(str, missing))} is missing. If the model has no layer there, list "
            "those that it has in the config: "
            f'{{"layers": {_json(sorted(numbered, key=lambda n: numbered[n]))}}}'
        )


def _same(one: Mapping[int, LayerTensors], other: Mapping[int, LayerTensors]) -> bool:
    """Whether two modules are equal in every value; independently trained ones never are."""
    return one.keys() == other.keys() and all(
        one[index].keys() == other[index].keys()
        and all(np.array_equal(array, other[index][kind]) for kind, array in one[index].items())
        for index in one
    )


def _fitting(
    modules: Mapping[str, Mapping[int, LayerTensors]], matrices: list[tuple[int, ...]]
) -> list[tuple[str, ...]]:
    """Orders in which each module reads as many values as the one below gives.

    None where there are more than `MAX_TRIED` modules.
    """
    if len(modules) > MAX_TRIED:
        return []
    reads = {name: layers[0]["weight_ih"].shape[1] for name, layers in modules.items()}
    given = {name: gives(layers[max(layers)]) for name, layers in modules.items()}
    # The columns of an embedding, or with one-hot input the rows of a decoder.
    first = {size for shape in matrices for size in shape}
    last = {columns for _, columns in matrices}
    return [
        order
        for order in permutations(modules)
        if reads[order[0]] in first
        and given[order[-1]] in last
        and all(given[below] == reads[above] for below, above in pairwise(order))
    ]
