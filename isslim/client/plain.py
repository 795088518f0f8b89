"""Text of strangers in a terminal: control characters are shown, never obeyed."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.text import Text

# All but tab and line feed: C0, DEL, C1, line and paragraph separators, and what turns the
# direction of writing.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """A text with its control characters as escapes, as Python writes them.

    A model's name, a word of a vocabulary or a line of a log could otherwise clear the screen, or
    write what looks like an answer of this program.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class PlainConsole(Console):
    """A console whose strings, in tables too, have no control characters.

    rich leaves a `Text` as it is: make it of `visible` text.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """Reads a string's markup, once its control characters are visible.

        Args:
            text: the string.
            options: of rich.
        """
        return super().render_str(visible(text), **options)
