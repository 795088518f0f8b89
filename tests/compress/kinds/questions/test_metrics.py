"""The official rules of SQuAD v1.1, on cases worked out by hand."""

from __future__ import annotations

import pytest

from isslim.compress.kinds.questions.metrics import exact, normalized, overlap, score


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The  Denver Broncos.", "denver broncos"),
        ("an apple, a pear", "apple pear"),
        ("A", ""),
        ("theatre another an", "theatre another"),
        ("U.S. Army", "us army"),
        ("post-war", "postwar"),
        # Punctuation goes first, so what it held apart becomes one word, which is no article any
        # more.
        ("the-end", "theend"),
        # Only ASCII punctuation goes; around others an article is a word of its own.
        ("24\u201310", "24\u201310"),
        ("the\u2013end", "\u2013end"),
        ("\u00c9COLE", "\u00e9cole"),
    ],
)
def test_answers_are_normalised_as_the_official_script_does(answer: str, expected: str) -> None:
    assert normalized(answer) == expected


@pytest.mark.parametrize(
    ("prediction", "golden", "em", "f1"),
    [
        ("Denver Broncos", ["the Denver Broncos"], 1.0, 1.0),
        ("Broncos", ["Denver Broncos"], 0.0, 2 / 3),
        ("Denver Broncos team", ["Carolina", "Broncos", "Denver Broncos"], 0.0, 0.8),
        (
            "cat cat dog",
            ["cat dog dog"],
            0.0,
            2 / 3,
        ),  # words are counted as often as both have them
        ("in 1999", ["1999"], 0.0, 2 / 3),
        ("Paris", ["London"], 0.0, 0.0),
        ("", ["London"], 0.0, 0.0),
        ("the", ["a"], 1.0, 0.0),  # both are empty: equal, and without a word in common
    ],
)
def test_exact_match_and_f1_by_hand(
    prediction: str, golden: list[str], em: float, f1: float
) -> None:
    assert exact(prediction, golden) == em
    assert overlap(prediction, golden) == pytest.approx(f1, rel=1e-12)


def test_scores_are_means_over_questions_in_percent() -> None:
    found = score([("Broncos", ["Denver Broncos"]), ("1999", ["1999", "in 1999"]), ("x", ["y"])])
    assert (found.em, found.questions) == (pytest.approx(100 / 3), 3)
    assert found.f1 == pytest.approx(100 * (2 / 3 + 1) / 3)
    with pytest.raises(ValueError, match="no question"):
        score([])
