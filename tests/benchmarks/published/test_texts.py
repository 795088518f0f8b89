"""Texts and pages."""

from __future__ import annotations

import pytest

from benchmarks.published.texts import english_lines, english_phrases, page


def test_pages_share_no_item_and_are_the_same_again() -> None:
    items = [f"item {number}" for number in range(20)]
    pages = [page(items, number, 6) for number in range(3)]
    assert len({each for found in pages for each in found}) == 18
    assert page(items, 1, 6) == pages[1]


def test_a_page_beyond_the_last_item_is_refused() -> None:
    with pytest.raises(ValueError, match=r"page 3 of 6 needs more than the 20 items there are"):
        page(range(20), 3, 6)


def test_lines_of_the_manual_are_short_and_differ() -> None:
    found = english_lines()
    assert len(found) == len(set(found)) > 3000
    assert all(20 <= len(each) <= 45 and each == each.strip() for each in found)


def test_phrases_of_the_manual_are_two_to_four_words_in_small_letters() -> None:
    found = english_phrases()
    assert len(found) == len(set(found)) > 9000
    assert {len(words) for words in found} == {2, 3, 4}
    assert all(word.isalpha() and word == word.lower() for words in found for word in words)
