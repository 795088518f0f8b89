"""Symbolic sizes: numbers, names, or products of both.

A product is written as its factors with a sign between them that no exporter puts in names; equal
products are equal texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

Size = int | str
"""A size of at least 1; -1 and 0 have special meanings in a Reshape and are not factors."""
_TIMES = "\u00d7"


def multiplied(sizes: Sequence[Size]) -> Size:
    """The product of sizes."""
    number, names = _factors(sizes)
    if not number or not names:  # zero of anything is zero
        return number
    numbers = [] if number == 1 else [str(number)]
    return _TIMES.join([*numbers, *sorted(names.elements())])


def divided(size: Size, by: Size) -> Size | None:
    """The quotient of two sizes.

    Args:
        size: what is divided.
        by: the divisor.

    Returns:
        The product of the remaining factors; None where divisibility by `by` is not known.
    """
    (number, names), (divisor, gone) = _factors([size]), _factors([by])
    # The special values of a Reshape (-1, 0) cannot be divided.
    if divisor < 1 or number % divisor or gone - names:
        return None
    return multiplied([number // divisor, *(names - gone).elements()])


def _factors(sizes: Sequence[Size]) -> tuple[int, Counter[str]]:
    """The product of all numbers, and the exponent of every name."""
    numbers, names = [], Counter[str]()
    for size in sizes:
        for factor in [size] if isinstance(size, int) else size.split(_TIMES):
            # An earlier product is a text that begins with its number.
            if isinstance(factor, int) or factor.isdecimal():
                numbers.append(int(factor))
            else:
                names[factor] += 1
    return prod(numbers), names
