"""Every one-place change of a module's text that its tests should notice.

The changes are those of mutmut (`mutmut.mutation.mutators`: numbers, comparisons, arithmetic,
arguments, assignments, conditions, keywords), but for two kinds that say little of the tests: a
string in capitals, where it is changed in another way already, and None in the place of an
argument, which breaks nearly any call; that an argument is left out is tried.

What stays: annotations, decorators, imports, docstrings and type aliases, which do nothing when the
module runs; the arguments of `len` and `isinstance`, whose every change breaks the module at once;
`strict` of a zip, a guard against mistakes of ours which correct code never meets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper
from mutmut.mutation.mutators import mutation_operators, operator_arg_removal, operator_string

UNCHANGED_CALLS = {"len", "isinstance", "TypeVar", "NewType"}
GUARD = "strict"
"""The argument that no change touches."""


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        line: where the change begins in the original, counted from 1.
        before: the changed lines as they were, each stripped.
        after: the changed lines as they are.
        source: the whole text.
    """

    line: int
    before: str
    after: str
    source: str

    @property
    def change(self) -> tuple[str, str]:
        """The mutant's name, which stays as long as its lines do, wherever they move."""
        return self.before, self.after


def mutants_of(source: str) -> list[Mutant]:
    """All mutants of a module's text, in its order, each unlike it and the others."""
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    spans = wrapper.resolve(ByteSpanPositionProvider)
    collector = _Collector()
    wrapper.module.visit(collector)
    text, found = source.encode(), dict[str, Mutant]()
    for node, changed in collector.changes:
        start = spans[node].start
        end = start + spans[node].length
        was, now = (wrapper.module.code_for_node(each) for each in (node, changed))
        if was.encode() != text[start:end]:  # spaces that stand outside the span
            now = now.strip()
        code = (text[:start] + now.encode() + text[end:]).decode()
        if code != source and code not in found and _compiles(code):
            found[code] = _describe(source, code)
    return list(found.values())


class _Collector(cst.CSTVisitor):
    """Gathers nodes and what may take their place."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[cst.CSTNode, cst.CSTNode]] = []
        self._scopes = 0

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _stays(node, is_global=self._scopes == 0):
            return False
        self._scopes += isinstance(node, cst.FunctionDef | cst.ClassDef)
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                changes = [each for each in operator(node) if _guard(each) == _guard(node)]
                if operator is operator_string:
                    changes = changes[:1]
                elif operator is operator_arg_removal:
                    changes = [each for each in changes if len(each.args) < len(node.args)]
                self.changes += [(node, changed) for changed in changes]
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        self._scopes -= isinstance(original_node, cst.FunctionDef | cst.ClassDef)


def _stays(node: cst.CSTNode, *, is_global: bool) -> bool:
    """Whether neither a node nor what is in it is changed."""
    if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom):
        return True
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Name):
        return node.func.value in UNCHANGED_CALLS
    if isinstance(node, cst.Assign | cst.AnnAssign) and is_global:
        value = node.value
        return isinstance(value, cst.Subscript) or (
            isinstance(value, cst.Call)
            and isinstance(value.func, cst.Name)
            and value.func.value in UNCHANGED_CALLS
        )
    return isinstance(node, cst.Arg) and _is_guard(node)


def _is_guard(argument: cst.Arg) -> bool:
    return argument.keyword is not None and argument.keyword.value == GUARD


def _guard(node: cst.CSTNode) -> str | None:
    """The value of a call's guard; None where it has none."""
    arguments: Iterable[cst.Arg] = node.args if isinstance(node, cst.Call) else ()
    for argument in arguments:
        if _is_guard(argument):
            return argument.value.value if isinstance(argument.value, cst.Name) else ""
    return None


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _describe(original: str, changed: str) -> Mutant:
    """Leaves out the lines that both texts begin and end with."""
    lines, others = original.splitlines(), changed.splitlines()
    first = _equal(lines, others)
    last = min(_equal(lines[::-1], others[::-1]), len(lines) - first - 1, len(others) - first - 1)
    before, after = lines[first : len(lines) - last], others[first : len(others) - last]
    return Mutant(
        first + 1,
        " ".join(line.strip() for line in before),
        " ".join(line.strip() for line in after),
        changed,
    )


def _equal(lines: Sequence[str], others: Sequence[str]) -> int:
    """How many lines two texts have in common at their beginnings."""
    return sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(lines, others, strict=False))
    )
