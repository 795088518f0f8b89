"""The card's section with code that uses the bundle's files in a program of the reader's own."""

from __future__ import annotations

from isslim.card.markdown import fenced
from isslim.types.kinds.description import Served
from isslim.types.kinds.registry import kind_named

HEADING = "Use it in a program of your own"


def program_section(task: str, served: Served) -> list[str]:
    """Every program of the kind; empty where it has none for this model.

    Args:
        task: name of the model's kind.
        served: the model.
    """
    programs = kind_named(task).programs(served)
    if not programs:
        return []
    paragraphs = [f"## {HEADING}", "The code runs in the folder with this bundle's files."]
    for each in programs:
        packages = " ".join(f'"{name}"' if "[" in name else name for name in each.packages)
        paragraphs += [
            f"### {each.title}",
            fenced(f"pip install {packages}", "sh"),
            fenced(each.code, "python"),
        ]
    return paragraphs
