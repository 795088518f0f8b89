"""Markdown of the card: tables, lists, and escaped texts of the uploader."""

from __future__ import annotations

import re
from collections.abc import Collection

_MEANT = re.compile(
    r"""[\\`*_\[\]<>&#|~$!@{}]  # anywhere
    | (?<=\])\(                 # a link's address
    | :(?=//) | (?<=www)\.      # addresses that become links by themselves
    | ^[-+]                     # an item of a list""",
    re.VERBOSE | re.IGNORECASE,
)
_TAG = re.compile(r"(?<!\\)<(?=[A-Za-z/!?])")
_LINK = re.compile(r"(?<!\\)\]\(\s*([^)\s]*)")
_DEFINED = re.compile(r"^([ >]*)\[(?=[^\]\n]+\]:)", re.MULTILINE)
_FENCED = re.compile(r"(^(`{3,})[^`\n]*\n.*?^\2`*[ ]*$)", re.MULTILINE | re.DOTALL)
_NUMBERED = re.compile(r"^(\d{1,9})([.)])")
"""An item of a numbered list."""


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown. Names that the uploader chose may contain characters that end a cell.

    Args:
        head: of the columns.
        rows: each with a cell for every column.
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )


def escaped(text: str) -> str:
    """An uploader's text as one line that Markdown shows as it is.

    No markup, HTML or link results, and invisible characters become spaces.
    """
    visible = "".join(character if character.isprintable() else " " for character in text)
    return _NUMBERED.sub(r"\1\\\2", _MEANT.sub(r"\\\g<0>", " ".join(visible.split())))


def listed(parts: list[str]) -> str:
    """A list in a sentence: `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def fenced(code: str, language: str) -> str:
    """A block of code; its fence is longer than any in the code, so that nothing ends it early.

    Args:
        code: any text.
        language: of the code, such as `python`.
    """
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"


def defused(text: str, targets: Collection[str]) -> str:
    """Markdown in which no name that came with a model is HTML or a link.

    Names of a graph's parts are in many sentences, and this is said once: blocks of code stay as
    they are, HTML becomes text, and so does a link or picture that leads elsewhere.

    Args:
        text: of a card, which has no HTML of its own.
        targets: of its own links and pictures.
    """

    def link(found: re.Match[str]) -> str:
        return found[0] if found[1] in targets else f"\\{found[0]}"

    parts = _FENCED.split(text)
    for place in range(0, len(parts), 3):  # then a fence and what is behind it, to its end
        plain = _TAG.sub(r"\\<", parts[place])
        parts[place] = _DEFINED.sub(r"\1\\[", _LINK.sub(link, plain))
    return "".join(part for place, part in enumerate(parts) if place % 3 != 2)
