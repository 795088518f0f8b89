"""Exact match and F1 of SQuAD v1.1 (Rajpurkar et al., arXiv 1606.05250).

The rules are those of the official `evaluate-v1.1.py`. Answers are compared in lower case without
ASCII punctuation, without the articles a, an and the, and with single spaces. A prediction has the
best of its scores over the golden answers. Both metrics are means over the questions, 0 to 100.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Scores:
    """Means over the questions, 0 to 100.

    Attributes:
        em: share of questions answered exactly.
        f1: mean overlap in words.
        questions: their number.
    """

    em: float
    f1: float
    questions: int


def normalized(answer: str) -> str:
    """An answer as it is compared. Punctuation goes first, so that "(the" is an article."""
    return " ".join(_ARTICLE.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact(prediction: str, golden: Sequence[str]) -> float:
    """Exact match.

    Args:
        prediction: the answer's text.
        golden: texts of the golden answers.

    Returns:
        1 if the prediction is one of the golden answers, else 0.
    """
    return float(any(normalized(prediction) == normalized(each) for each in golden))


def overlap(prediction: str, golden: Sequence[str]) -> float:
    """The best F1 of the prediction's words against those of a golden answer.

    Args:
        prediction: the answer's text.
        golden: texts of the golden answers.

    Returns:
        0 to 1; 0 where no word is common.
    """
    return max(
        (_f1(normalized(prediction).split(), normalized(each).split()) for each in golden),
        default=0.0,
    )


def score(answered: Iterable[tuple[str, Sequence[str]]]) -> Scores:
    """Scores predictions, each with its golden answers.

    Raises:
        ValueError: when there is no prediction.
    """
    pairs = list(answered)
    if not pairs:
        raise ValueError("there is no question to score")
    em = sum(exact(prediction, golden) for prediction, golden in pairs)
    f1 = sum(overlap(prediction, golden) for prediction, golden in pairs)
    return Scores(100 * em / len(pairs), 100 * f1 / len(pairs), len(pairs))


def _f1(prediction: list[str], golden: list[str]) -> float:
    common = (Counter(prediction) & Counter(golden)).total()
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(golden)
    return 2 * precision * recall / (precision + recall)
