"""The metrics on targets once more, in plain loops over plain numbers."""

from __future__ import annotations

from collections.abc import Sequence


def accuracy(decisions: Sequence[int], targets: Sequence[int]) -> float:
    """The share that is equal."""
    return sum(one == other for one, other in zip(decisions, targets, strict=True)) / len(targets)


def f1_of(decisions: Sequence[int], targets: Sequence[int], positive: int) -> float:
    """F1 of one class, from precision and recall."""
    hits = sum(a == b == positive for a, b in zip(decisions, targets, strict=True))
    said, there = list(decisions).count(positive), list(targets).count(positive)
    if hits == 0:
        return 0.0
    precision, recall = hits / said, hits / there
    return 2 * precision * recall / (precision + recall)


def f1_macro(decisions: Sequence[int], targets: Sequence[int]) -> float:
    """The mean over the classes of the targets."""
    classes = sorted(set(targets))
    return sum(f1_of(decisions, targets, each) for each in classes) / len(classes)


def auc(scores: Sequence[float], targets: Sequence[int]) -> float:
    """Every pair of a case of class 1 and one of class 0, a tie as a half."""
    pairs = [
        1.0 if one > other else 0.5 if one == other else 0.0
        for one, wanted in zip(scores, targets, strict=True)
        if wanted == 1
        for other, unwanted in zip(scores, targets, strict=True)
        if unwanted == 0
    ]
    return sum(pairs) / len(pairs)


def collapsed(steps: Sequence[int], blank: int) -> list[int]:
    """Repeats once, blanks not at all."""
    found: list[int] = []
    last = None
    for step in steps:
        if step not in (last, blank):
            found.append(step)
        last = step
    return found


def distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Levenshtein's distance, by its recursion."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i in range(len(one) + 1):
        for j in range(len(other) + 1):
            if i == 0 or j == 0:
                table[i][j] = i + j
            else:
                table[i][j] = min(
                    table[i - 1][j] + 1,
                    table[i][j - 1] + 1,
                    table[i - 1][j - 1] + (one[i - 1] != other[j - 1]),
                )
    return table[-1][-1]
