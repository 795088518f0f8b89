"""Tables of the card, and texts of strangers in it."""

from __future__ import annotations

import re

_MEANT = re.compile(
    r"""[\\`*_\[\]<>&#|~$!@{}]  # anywhere
    | (?<=\])\(                 # a link's address
    | :(?=//) | (?<=www)\.      # addresses that become links by themselves
    | ^[-+]                     # an item of a list""",
    re.VERBOSE | re.IGNORECASE,
)
_NUMBERED = re.compile(r"^(\d{1,9})([.)])")
"""An item of a numbered list."""


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown. Names that the uploader chose may hold what ends a cell."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )


def escaped(text: str) -> str:
    """A stranger's text as one line that Markdown shows as it is: no markup, no HTML, no link, nothing that cannot be seen."""
    visible = "".join(character if character.isprintable() else " " for character in text)
    return _NUMBERED.sub(r"\1\\\2", _MEANT.sub(r"\\\g<0>", " ".join(visible.split())))
