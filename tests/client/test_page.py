"""The page of the command line is that of the commands there are."""

from __future__ import annotations

from pathlib import Path

from isslim.client.page import page

PAGE = Path(__file__).parent.parent.parent / "docs" / "commands.md"


def test_page_of_the_commands_is_that_of_the_program() -> None:
    assert PAGE.read_text() == page(), "make docs writes it"
