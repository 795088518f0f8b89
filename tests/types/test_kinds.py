"""A kind is described in one place: elsewhere nothing is looked up or decided by its name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from isslim.types.kinds.registry import kinds

PACKAGE = Path(__file__).parents[2] / "isslim"
NAMES = {kind.name for kind in kinds()}
OWN = {
    *(PACKAGE / "types" / "kinds" / f"{name}.py" for name in ("language", "questions", "graphs")),
    *(
        path
        for room in ("runtime", "compress/kinds")
        for name in ("language", "questions", "graphs")
        for path in (PACKAGE / room / name).rglob("*.py")
    ),
}
"""The kinds' own modules."""


def decisions(source: str) -> list[int]:
    """Lines where a kind's name is the key of a dict, an operand of a comparison, or a case."""
    found = []
    for node in ast.walk(ast.parse(source)):
        named: list[ast.expr | None] = []
        if isinstance(node, ast.Dict):
            named = list(node.keys)
        elif isinstance(node, ast.Compare):
            for operand in (node.left, *node.comparators):
                named += (
                    operand.elts
                    if isinstance(operand, ast.Tuple | ast.Set | ast.List)
                    else [operand]
                )
        elif isinstance(node, ast.Subscript):
            named = [node.slice]
        elif isinstance(node, ast.MatchValue):
            named = [node.value]
        found += [
            each.lineno for each in named if isinstance(each, ast.Constant) and each.value in NAMES
        ]
    return found


def test_nothing_is_decided_by_the_name_of_a_kind() -> None:
    files = sorted(set(PACKAGE.rglob("*.py")) - OWN)
    found = {str(path.relative_to(PACKAGE)): decisions(path.read_text()) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        'TABLE = {"graph": 1}',
        'if task == "language-model": pass',
        'x = task in ("graph", "other")',
        'x = table["question-answering"]',
        'match task:\n    case "graph": pass',
    ],
)
def test_decision_by_the_name_of_a_kind_is_found(source: str) -> None:
    assert decisions(source) != []
