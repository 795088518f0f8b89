"""The span search against a double loop over all spans."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.runtime.questions.spans import Span, best_spans


def slow(starts: np.ndarray, ends: np.ndarray, most_tokens: int, top_k: int) -> list[Span]:
    """Every span, sorted by falling score, then start, then end."""
    found = []
    for start in range(len(starts)):
        for end in range(start, len(ends)):
            if end - start + 1 <= most_tokens:
                found.append(Span(start, end, float(starts[start]) + float(ends[end])))
    return sorted(found, key=lambda span: (-span.log_prob, span.start, span.end))[:top_k]


@pytest.mark.parametrize("tokens", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("most_tokens", [1, 2, 5, 1000])
@pytest.mark.parametrize("top_k", [1, 3, 50])
def test_spans_are_those_of_the_double_loop(tokens: int, most_tokens: int, top_k: int) -> None:
    generator = np.random.default_rng(100 * tokens + top_k)
    for _ in range(5):
        logits = generator.normal(0, 3, (2, tokens)).astype(np.float32)
        starts, ends = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        assert best_spans(starts, ends, max_tokens=most_tokens, top_k=top_k) == slow(
            starts, ends, most_tokens, top_k
        )


@pytest.mark.parametrize("top_k", [1, 2, 5, 9, 30])
def test_equal_scores_come_in_the_order_of_start_and_end(top_k: int) -> None:
    generator = np.random.default_rng(top_k)
    for _ in range(20):
        starts, ends = generator.integers(-2, 1, (2, 12)).astype(
            np.float32
        )  # three values: ties everywhere
        assert best_spans(starts, ends, max_tokens=4, top_k=top_k) == slow(starts, ends, 4, top_k)


def test_probabilities_of_zero_are_spans_like_others_and_no_span_leaves_the_context() -> None:
    starts = np.array([-np.inf, 0.0, -np.inf], np.float32)
    ends = np.array([0.0, -np.inf, -np.inf], np.float32)
    found = best_spans(starts, ends, max_tokens=3, top_k=10)
    assert sorted((span.start, span.end) for span in found) == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 1),
        (1, 2),
        (2, 2),
    ]


def test_one_span_comes_where_nobody_asks_for_more() -> None:
    found = best_spans(np.array([0.0, -1.0]), np.array([-1.0, 0.0]), max_tokens=2)
    assert found == [Span(0, 1, 0.0)]


def test_what_is_no_context_is_refused() -> None:
    two, three = np.zeros(2), np.zeros(3)
    for starts, ends in ((two, three), (two[:0], two[:0]), (np.zeros((2, 1)), np.zeros((2, 1)))):
        with pytest.raises(ValueError, match="not one start and end"):
            best_spans(starts, ends, max_tokens=3)
    for bounds in ({"max_tokens": 0}, {"max_tokens": 2, "top_k": 0}):
        with pytest.raises(ValueError, match="1 or more"):
            best_spans(two, two, **bounds)
