"""The list of rules: each operator once, each obstacle in words, and the page that shows them."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType

import onnx
import pytest

from isslim.compress.onnx.trace import alignment, context, registry
from isslim.compress.onnx.trace.context import UNKNOWN_RANK
from isslim.compress.onnx.trace.registry import RULES, by_operator, rules_of
from isslim.compress.onnx.trace.rule import Rule, rule
from isslim.compress.onnx.trace.rules import regrouping
from isslim.compress.onnx.trace.rules.obstacles import COUNTS_UNITS
from isslim.compress.onnx.trace.tracing import OTHER_OUTPUT

GENERAL = {COUNTS_UNITS, UNKNOWN_RANK}
"""Why any operator may be an obstacle."""
PAGE = Path(__file__).parents[4] / "docs" / "operators.md"


def modules() -> list[ModuleType]:
    """Every module of rules that the registry names."""
    return [each for each in vars(registry).values() if inspect.ismodule(each)]


def raised(module: ModuleType) -> set[str]:
    """The texts with which a module raises `Unfollowable`; each must be a constant with a name."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Unfollowable":
            (argument,) = node.args
            assert isinstance(argument, ast.Name), ast.unparse(node)
            # A function may be given its text by the rule that calls it.
            if argument.id != "text":
                found.add(getattr(module, argument.id))
    return found


def named_in_code(module: ModuleType) -> set[str]:
    """The texts of a module's constants that its functions name, decorators aside."""
    found = set()
    for function in ast.walk(ast.parse(inspect.getsource(module))):
        for statement in function.body if isinstance(function, ast.FunctionDef) else ():
            for node in ast.walk(statement):
                text = getattr(module, node.id, None) if isinstance(node, ast.Name) else None
                found |= {text} if isinstance(text, str) else set()
    return found


def test_every_file_of_rules_is_in_the_list() -> None:
    folder = Path(str(modules()[0].__file__)).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    helpers = {"obstacles", "regrouping", "shape_arithmetic"}
    assert {module.__name__.rpartition(".")[2] for module in modules()} == files - helpers
    assert set(map(id, RULES.values())) == {id(each) for m in modules() for each in rules_of(m)}


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_every_obstacle_that_a_file_raises_is_one_of_its_rules(module: ModuleType) -> None:
    named = {text for each in rules_of(module) for text in each.obstacles}
    assert raised(module) - named - GENERAL == set()


def test_every_obstacle_of_a_rule_is_raised_somewhere() -> None:
    texts = named_in_code(alignment) | named_in_code(context) | named_in_code(regrouping)
    for module in modules():
        texts |= named_in_code(module)
    assert {text for each in RULES.values() for text in each.obstacles} - texts == set()


@pytest.mark.parametrize("operator", RULES)
def test_every_operator_is_one_of_onnx_and_described(operator: str) -> None:
    assert onnx.defs.get_schema(operator).name == operator
    assert 10 < len(RULES[operator].description) < 100
    assert RULES[operator].description.endswith(".")


def test_operator_with_two_rules_is_refused() -> None:
    module = ModuleType("twice")
    module.first = rule("Relu")(lambda context: None)  # type: ignore[attr-defined]
    module.second = rule("Relu", "Tanh")(lambda context: None)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="two rules for the operator Relu"):
        by_operator([module])


HEAD = f"""# Operators through which units are followed

A test keeps this page equal to the rules in `isslim/compress/onnx/trace/rules`. Operators that are
not listed, and the cases in the right-hand column, are not errors: the units that reach them are
kept, and the report names the operator and the reason. Channels, which begin where a matrix,
convolution or embedding is a constant, are followed in the same way. Three reasons apply to any
operator: it reads a number of units ("{COUNTS_UNITS}"), the rank of an
input is unknown ("{UNKNOWN_RANK}"), or a node
reads an output other than the first for which there is no rule
("{OTHER_OUTPUT}").

| operators | effect on units | why units are kept |
|---|---|---|"""


def page() -> str:
    """The page of all rules, as it must be."""
    lines = [HEAD]
    seen: list[Rule] = []
    for each in RULES.values():
        if each not in seen:
            seen.append(each)
            operators = ", ".join(f"`{name}`" for name in each.operators)
            obstacles = "; ".join(each.obstacles)
            lines.append(f"| {operators} | {each.description} | {obstacles} |")
    return "\n".join(lines) + "\n"


def test_page_shows_the_rules() -> None:
    assert PAGE.read_text() == page()
