"""Tables of the card."""

from __future__ import annotations


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown. Names that the uploader chose may hold what ends a cell."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )
