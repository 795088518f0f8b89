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
    right, used_in, used_out = _matched(before[start_in:][::-1], after[start_out:][::-1])
    stop_in, stop_out = len(before) - used_in, len(after) - used_out
    groups = left
    middle_in, middle_out = list(range(start_in, stop_in)), list(range(start_out, stop_out))
    if middle_in or middle_out:
        groups.append((middle_in, middle_out))
    last_in, last_out = len(before) - 1, len(after) - 1
    for ins, outs in reversed(right):
        groups.append(
            ([last_in - i for i in reversed(ins)], [last_out - o for o in reversed(outs)])
        )
    return groups


def _matched(before: list[Size], after: list[Size]) -> tuple[list[Group], int, int]:
    """Groups from the beginning as far as sizes are known, and how many positions they took."""
    groups: list[Group] = []
    i = o = 0
    while True:
        if i < len(before) and o < len(after) and before[i] == after[o] and after[o] != -1:
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
            groups.append((list(range(i, ends[0])), list(range(o, ends[1]))))
            i, o = ends


def _products(before: list[Size], after: list[Size], i: int, o: int) -> tuple[int, int] | None:
    """Where the products from two places on are first equal."""
    others = dict(_running(after, o)[::-1])
    return next(
        ((end, others[whole]) for whole, end in _running(before, i) if whole in others), None
    )


def _running(sizes: list[Size], start: int) -> list[tuple[Size, int]]:
    """The products of sizes from `start` on, each with the place behind its last factor."""
    found: list[tuple[Size, int]] = []
    for end, size in enumerate(sizes[start:], start + 1):
        if isinstance(size, int) and size < 1:
            break
        found.append((multiplied([found[-1][0], size]) if found else size, end))
    return found
