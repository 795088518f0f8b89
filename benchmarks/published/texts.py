"""English text that comes with Python, and pages of whatever is read from installed packages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pydoc_data.topics import topics
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def page(items: Sequence[Item], number: int, size: int) -> list[Item]:
    """The page of that number: other items than on any other page, in an order of their own.

    Args:
        items: all of them.
        number: from 0.
        size: of a page.

    Raises:
        ValueError: when there are not so many items.
    """
    order = np.random.default_rng(0).permutation(len(items))
    places = order[number * size : (number + 1) * size]
    if len(places) < size:
        raise ValueError(
            f"page {number} of {size} needs more than the {len(items)} items there are"
        )
    return [items[place] for place in places]


@cache
def english_lines() -> tuple[str, ...]:
    """Lines of Python's manual, each once: 20 to 45 characters of ASCII, three or more words."""
    found = dict[str, None]()
    for topic in topics.values():
        for line in topic.splitlines():
            text = " ".join(line.split())
            while len(text) > 45:
                cut = text.rfind(" ", 0, 45)
                head, text = (text[:cut], text[cut + 1 :]) if cut > 0 else ("", "")
                found[head] = None
            found[text] = None
    return tuple(
        each for each in found if len(each) >= 20 and each.isascii() and each.count(" ") >= 2
    )


@cache
def english_phrases() -> tuple[tuple[str, ...], ...]:
    """Two to four words that follow each other in Python's manual, in small letters, each once."""
    generator, found = np.random.default_rng(0), dict[tuple[str, ...], None]()
    for topic in topics.values():
        for sentence in re.split(r"[^A-Za-z ]+", " ".join(topic.split())):
            words = [word for word in sentence.lower().split() if len(word) > 1 or word == "a"]
            while len(words) >= 2:
                count = int(generator.integers(2, 5))
                found[tuple(words[:count])] = None
                words = words[count:]
    return tuple(found)
