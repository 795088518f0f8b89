"""A log that is followed: every line once, although a job holds only its last lines."""

from __future__ import annotations

import pytest

from isslim.client.commands.jobs import unseen


@pytest.mark.parametrize(
    ("seen", "tail", "new"),
    [
        ([], ["a", "b"], ["a", "b"]),
        (["a", "b"], ["a", "b"], []),
        (["a", "b"], ["a", "b", "c"], ["c"]),
        (["a", "b", "c"], ["b", "c", "d"], ["d"]),  # the first was dropped
        (["a", "b"], ["c", "d"], ["c", "d"]),  # all were dropped
        (["a", "a"], ["a", "a", "a"], ["a"]),
        (["a", "b"], ["b"], []),
        (["a", "b"], [], []),
    ],
)
def test_lines_that_are_new(seen: list[str], tail: list[str], new: list[str]) -> None:
    assert unseen(seen, tail) == new
