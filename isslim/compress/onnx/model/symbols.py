"""Sizes that are numbers, names, or products of both, where not every number is known.

A product is written as its factors with a sign between them that no exporter puts in names; equal
products are equal texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

Size = int | str
"""At least 1 where it is a size; -1 and 0 have their own meaning in a Reshape and are no
factors."""
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
        by: what it is divided by.

    Returns:
        The product of the factors that are left; None where it is not known that `by` divides.
    """
    (number, names), (divisor, gone) = _factors([size]), _factors([by])
    # With the sign of a Reshape (-1, 0) there is nothing to divide.
    if divisor < 1 or number % divisor or gone - names:
        return None
    return multiplied([number // divisor, *(names - gone).elements()])


def _factors(sizes: Sequence[Size]) -> tuple[int, Counter[str]]:
    """The product of all numbers, and how often every name is a factor."""
    numbers, names = [], Counter[str]()
    for size in sizes:
        for factor in [size] if isinstance(size, int) else size.split(_TIMES):
            # A product that was written before is a text with its number in front.
            if isinstance(factor, int) or factor.isdecimal():
                numbers.append(int(factor))
            else:
                names[factor] += 1
    return prod(numbers), names
