"""Pictures of words and of lines."""

from __future__ import annotations

import numpy as np

from benchmarks.pictures import letters_of, line, word


def test_a_word_is_as_wide_as_its_letters_and_repeatable() -> None:
    for seed in range(5):
        picture = word(64, seed)
        assert picture.shape == (64, 40 * len(letters_of(seed)))
        assert picture.dtype == np.float32
        np.testing.assert_array_equal(picture, word(64, seed))


def test_a_line_is_dark_on_light_and_grows_with_its_text() -> None:
    short, long = line("one line", 32, 1), line("one line that is longer", 32, 1)
    assert short.shape[0] == long.shape[0] == 32
    assert 2 * short.shape[1] < long.shape[1] < 4 * short.shape[1]
    for picture in (short, long):
        assert 0 <= picture.min() < 0.4
        assert np.median(picture) > 0.85
        # The text is inside: the edges are light.
        assert min(picture[:, :4].mean(), picture[:, -4:].mean(), picture[:2].mean()) > 0.9


def test_signs_of_formulas_are_printed_as_they_are() -> None:
    assert line("$x_1$ of $y$", 32, 2).shape[1] > line("x1 of y", 32, 2).shape[1]
