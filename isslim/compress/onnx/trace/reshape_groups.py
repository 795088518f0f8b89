"""Which dimensions of a Reshape become which: the finest groups whose products are known to agree.

A Reshape keeps the order of all entries. So wherever the sizes before a boundary have the same
product on both sides, or those behind it, the boundary holds, and the dimensions between two
boundaries become one another. Unknown sizes are names: equal names are equal sizes, and so are
equal products of them (`symbols`).
"""

from __future__ import annotations

from isslim.compress.onnx.model.symbols import Size, multiplied

Group = tuple[list[int], list[int]]


def reshape_groups(before: list[Size], after: list[Size]) -> list[Group]:
    """Groups of positions that become one another, in order.

    Args:
        before: sizes, a name for each that is not known.
        after: the same; -1 stands for what is left.

    Returns:
        Pairs of positions before and after; one side is empty for dimensions of size 1 that come or
        go.
    """
    left, start_in, start_out = _matched(before, after)
    # What is left is looked at from the end, where equal sizes behind make a boundary too.
    rest_in, rest_out = before[start_in:], after[start_out:]
    right, used_in, used_out = _matched(rest_in[::-1], rest_out[::-1])
    middle_in = list(range(start_in, len(before) - used_in))
    middle_out = list(range(start_out, len(after) - used_out))
    groups = left
    # Between both nothing more is known than that it becomes one another.
    if middle_in or middle_out:
        groups.append((middle_in, middle_out))
    for ins, outs in reversed(right):
        groups.append((_from_end(ins, len(before)), _from_end(outs, len(after))))
    return groups


def _from_end(positions: list[int], length: int) -> list[int]:
    """Positions that were counted from the end, in order from the front."""
    return [length - 1 - position for position in reversed(positions)]


def _matched(before: list[Size], after: list[Size]) -> tuple[list[Group], int, int]:
    """Groups from the beginning as far as sizes are known, and how many positions they took."""
    groups: list[Group] = []
    i = o = 0
    while True:
        # -1 is what is left of a product, equal to no size by itself.
        both = i < len(before) and o < len(after)
        if both and before[i] == after[o] and after[o] != -1:
            groups.append(([i], [o]))
            i, o = i + 1, o + 1
        elif i < len(before) and before[i] == 1:
            groups.append(([i], []))
            i += 1
        elif o < len(after) and after[o] == 1:
            groups.append(([], [o]))
            o += 1
        else:
            ends = _products(before, after, i, o)
            if ends is None:
                return groups, i, o
            end_in, end_out = ends
            groups.append((list(range(i, end_in)), list(range(o, end_out))))
            i, o = ends


def _products(before: list[Size], after: list[Size], i: int, o: int) -> tuple[int, int] | None:
    """Where the products from two places on are first equal."""
    # Backwards, so that of equal products the first stays: sizes of 1 behind come by themselves.
    others = dict(_running(after, o)[::-1])
    for product, end in _running(before, i):
        if product in others:
            return end, others[product]
    return None


def _running(sizes: list[Size], start: int) -> list[tuple[Size, int]]:
    """The products of sizes from `start` on, each with the place behind its last factor."""
    found: list[tuple[Size, int]] = []
    product: Size = 1
    for end, size in enumerate(sizes[start:], start + 1):
        # -1 and 0 ask for something else than a size: no product goes past them.
        if isinstance(size, int) and size < 1:
            break
        product = multiplied([product, size])
        found.append((product, end))
    return found
