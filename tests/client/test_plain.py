"""Control characters of other people's texts are shown in the terminal, never obeyed."""

from __future__ import annotations

import io

import pytest
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from isslim.client.plain import PlainConsole, visible

BAD = "a\x1b[2J\x00\x9b\r\u202eb"
SHOWN = r"a\x1b[2J\x00\x9b\r\u202eb"


def printed(what: object) -> str:
    file = io.StringIO()
    PlainConsole(file=file, width=100).print(what)
    return file.getvalue()


def test_only_control_characters_are_escaped() -> None:
    assert visible(BAD) == SHOWN
    assert visible("plain\ttext\nnaïve \\ 日本") == "plain\ttext\nnaïve \\ 日本"


@pytest.mark.parametrize("markup", ["[bold]x[/]", "\x1b[bold]x[/]", "\x1b[/]"])
def test_markup_of_a_text_stays_text(markup: str) -> None:
    assert visible(markup) in printed(escape(markup))


def test_strings_and_tables_hold_no_control_character() -> None:
    table = Table(title=escape(BAD))
    table.add_column(escape(BAD))
    table.add_row(escape(BAD))
    shown = printed(table)
    assert shown.count(SHOWN) == 3
    assert not set(BAD) & set(shown) - set(SHOWN)
    assert len({len(line) for line in shown.splitlines()[1:]}) == 1
    assert SHOWN in printed(escape(BAD))
    assert SHOWN in printed(Text(visible(BAD)))
