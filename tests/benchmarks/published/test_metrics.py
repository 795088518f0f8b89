"""Scores of tasks, each against a slow way to compute it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.published.metrics import auc, best_path, error_rate, f1, si_sdr, spans


def distance(found: str, wanted: str) -> int:
    if not found or not wanted:
        return len(found) + len(wanted)
    return min(
        distance(found[1:], wanted) + 1,
        distance(found, wanted[1:]) + 1,
        distance(found[1:], wanted[1:]) + (found[0] != wanted[0]),
    )


def test_error_rate_is_the_edits_of_all_pairs_for_100_true_symbols() -> None:
    pairs = [("kitten", "sitting"), ("", "ab"), ("abc", "abc"), ("flaw", "lawn")]
    expected = 100 * sum(distance(*pair) for pair in pairs) / sum(len(pair[1]) for pair in pairs)
    codes = [tuple([ord(each) for each in text] for text in pair) for pair in pairs]
    assert error_rate((one, other) for one, other in codes) == pytest.approx(expected, abs=1e-9)


def test_f1_counts_what_was_found_over_all_pairs_together() -> None:
    pairs = [({1, 2, 3}, {2, 3, 4, 5}), ({7}, {8})]
    precision, recall = 2 / 4, 2 / 5
    expected = 100 * 2 * precision * recall / (precision + recall)
    assert f1(pairs) == pytest.approx(expected, abs=1e-9)


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    generator = np.random.default_rng(0)
    scores, positive = generator.integers(0, 6, 40).astype(float), generator.random(40) > 0.6
    order = [
        (one > other) + (one == other) / 2
        for one in scores[positive]
        for other in scores[~positive]
    ]
    assert auc(scores, positive) == pytest.approx(100 * np.mean(order), abs=1e-9)


def test_si_sdr_is_the_level_of_noise_that_was_added_whatever_the_scale() -> None:
    generator = np.random.default_rng(1)
    clean = generator.standard_normal(4000)
    clean -= clean.mean()
    noise = generator.standard_normal(4000)
    noise -= noise.mean()
    noise -= (noise @ clean) / (clean @ clean) * clean  # all of it counts as distortion
    ratio = 10 * np.log10((clean @ clean) / (noise @ noise))
    assert si_sdr(clean + noise, clean) == pytest.approx(ratio, abs=1e-6)
    assert si_sdr(3 * (clean + noise) + 0.5, clean) == pytest.approx(ratio, abs=1e-6)


def test_spans_begin_at_the_first_step_and_at_every_start() -> None:
    starts = np.array([False, False, True, True, False])
    assert spans(starts) == {(0, 2), (2, 3), (3, 5)}


@pytest.mark.parametrize("ends", [True, False])
def test_best_path_is_the_best_of_all_paths(ends: bool) -> None:
    generator = np.random.default_rng(2)
    scores, transitions = generator.normal(size=(5, 3)), generator.normal(size=(3, 3))
    first, last = generator.normal(size=(2, 3)) if ends else (None, None)

    def total(path: tuple[int, ...]) -> float:
        found = sum(scores[step, each] for step, each in enumerate(path))
        found += sum(transitions[one, other] for one, other in itertools.pairwise(path))
        return found + (first[path[0]] + last[path[-1]] if ends else 0)

    best = max(itertools.product(range(3), repeat=5), key=total)
    assert best_path(scores, transitions, first, last).tolist() == list(best)
