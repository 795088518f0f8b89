"""The sampler against a slow one written from the definitions, and against what should come out."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest

from isslim.runtime.language.sampling import Sampler, Sampling

V = 12


def some_log_probs(seed: int, size: int = V, spread: float = 2.0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=size) * spread
    return (logits - np.log(np.exp(logits).sum())).astype(np.float32)


def slow_kept(log_probs: np.ndarray, sampling: Sampling) -> dict[int, float]:
    """Probabilities of the tokens that may be drawn, with Python's own numbers."""
    weights = {i: math.exp(float(each) / sampling.temperature) for i, each in enumerate(log_probs)}
    order = sorted(weights, key=lambda token: (-weights[token], token))
    if sampling.top_k:
        order = order[: sampling.top_k]
    total, sum_so_far, kept = sum(weights[each] for each in order), 0.0, []
    for token in order:
        kept.append(token)
        sum_so_far += weights[token] / total
        if sum_so_far >= sampling.top_p:
            break
    total = sum(weights[each] for each in kept)
    return {token: weights[token] / total for token in kept}


def slow_draws(log_probs: list[np.ndarray], sampling: Sampling, seed: int) -> list[int]:
    """The largest sums of log-probability and noise, token by token."""
    random, found = np.random.default_rng(seed), []
    for row in log_probs:
        noise = [-math.log(-math.log(each)) for each in random.random(len(row)).tolist()]
        kept = slow_kept(row, sampling)
        found.append(max(kept, key=lambda token: math.log(kept[token]) + noise[token]))
    return found


SAMPLINGS = [
    Sampling(),
    Sampling(temperature=0.3),
    Sampling(temperature=3.0),
    Sampling(top_k=4),
    Sampling(top_p=0.6),
    Sampling(temperature=1.7, top_p=0.8, top_k=5),
    Sampling(top_p=0.001),
    Sampling(top_k=1000),
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("size", [V, 700])
def test_draws_are_those_of_the_slow_sampler(sampling: Sampling, size: int) -> None:
    rows = [some_log_probs(index, size) for index in range(60)]
    sampler = Sampler(sampling, 7)
    assert [sampler.draw(row) for row in rows] == slow_draws(rows, sampling, 7)
    assert sampler.drawn == 60


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_tokens_are_drawn_as_often_as_their_probability_says(sampling: Sampling) -> None:
    row, count = some_log_probs(3), 4000
    sampler = Sampler(sampling, 1)
    found = Counter(sampler.draw(row) for _ in range(count))
    expected = slow_kept(row, sampling)
    assert found.keys() <= expected.keys()
    for token, p in expected.items():
        # Five standard deviations, and half a count for the smallest.
        assert abs(found[token] - count * p) <= 5 * math.sqrt(count * p * (1 - p)) + 0.5


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(top_k=1)])
def test_greedy_is_the_first_most_likely_token(sampling: Sampling) -> None:
    row = np.log(np.array([0.1, 0.4, 0.4, 0.1], np.float32))
    sampler = Sampler(sampling, 5)
    assert [sampler.draw(row) for _ in range(5)] == [1] * 5
    assert sampler.drawn == 0


def test_equally_likely_tokens_are_kept_by_their_ids() -> None:
    row = np.full(50, -math.log(50), np.float32)
    for sampling in (Sampling(top_k=3), Sampling(top_p=0.05)):
        sampler = Sampler(sampling, 0)
        assert {sampler.draw(row) for _ in range(200)} == {0, 1, 2}


def test_sampler_goes_on_where_another_stood() -> None:
    rows = [some_log_probs(index, 30) for index in range(20)]
    whole = Sampler(Sampling(), 11)
    expected = [whole.draw(row) for row in rows]
    first = Sampler(Sampling(), 11)
    begun = [first.draw(row) for row in rows[:8]]
    second = Sampler(Sampling(), 11, first.drawn)
    assert begun + [second.draw(row) for row in rows[8:]] == expected
    assert [Sampler(Sampling(), 12).draw(row) for row in rows] != expected


def test_extreme_temperatures_and_impossible_tokens() -> None:
    row = some_log_probs(4)
    assert Sampler(Sampling(temperature=1e-6), 0).draw(row) == row.argmax()
    row[2:] = -np.inf
    sampler = Sampler(Sampling(temperature=100.0), 0)
    assert {sampler.draw(row) for _ in range(100)} == {0, 1}


def test_nearly_equal_models_draw_the_same_from_one_seed() -> None:
    """With one number, looked up in cumulative sums, about a sixth of these draws would differ."""
    generator, different = np.random.default_rng(0), 0
    for seed in range(300):
        first = some_log_probs(seed, 500, 1.0)
        second = first + generator.normal(size=500).astype(np.float32) * 0.02
        one, other = (Sampler(Sampling(), seed).draw(row) for row in (first, second))
        different += one != other
    assert different <= 12


def test_pairs_of_draws_are_independent() -> None:
    row = np.full(3, -math.log(3), np.float32)
    sampler = Sampler(Sampling(), 2)
    drawn = [sampler.draw(row) for _ in range(3000)]
    pairs = Counter(pairwise(drawn))
    assert len(pairs) == 9
    for one, other in combinations(pairs.values(), 2):
        assert abs(one - other) < 110
