"""Every field of a recipe is an option of the command line, and what is wrong is said in words."""

from __future__ import annotations

import json
from types import NoneType
from typing import Any, get_args

import pytest
import typer
import typer.main
from pydantic import BaseModel
from typer.testing import CliRunner

from isslim.client.cli import app
from isslim.client.commands import budgets
from isslim.client.commands.companions import OPTIONS as FILES
from isslim.client.commands.program import command
from isslim.client.commands.recipe_options import OPTIONS, with_recipe, with_several_budgets
from isslim.client.commands.refusals import flag_of
from isslim.types.recipe import Budget, Recipe


def fields(model: type[BaseModel], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every field of a model and of the models in it, by its path, with its default."""
    found: dict[tuple[str, ...], Any] = {}
    for name, info in model.model_fields.items():
        inner = [each for each in get_args(info.annotation) if each is not NoneType]
        kind: Any = inner[0] if len(inner) == 1 and not isinstance(info.default, list) else None
        kind = info.annotation if kind is None else kind
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= fields(kind, (*path, name))
        else:
            found[(*path, name)] = info
    return found


@pytest.mark.parametrize("name", ["inspect", "compress", "sweep"])
def test_every_field_of_a_recipe_is_an_option_with_its_help(name: str) -> None:
    asked = typer.main.get_command(app).commands[name].params  # type: ignore[attr-defined]
    flags = {flag: each for each in asked for flag in each.opts}
    for path, info in fields(Recipe).items():
        option = flags[flag_of(path)]
        described = info.description.split("`")[0].split("null:")[0][:40]
        assert described in option.help
        if info.default not in (None, []) and not info.is_required():
            assert "[default: " in option.help
    assert {each.path for each in OPTIONS.values()} == set(fields(Recipe))


def test_no_option_of_a_recipe_is_one_of_a_file() -> None:
    assert set(OPTIONS) & set(FILES) == set()


def asked_for(*arguments: str) -> Recipe:
    """The recipe of a command line."""
    found: list[Recipe] = []
    program = typer.Typer(rich_markup_mode=None)

    @with_recipe
    def take(recipe: Recipe) -> None:
        found.append(recipe)

    command(program, "take")(take)
    done = CliRunner().invoke(program, list(arguments))
    assert done.exit_code == 0, done.output
    return found[0]


EXAMPLES: dict[str, list[str]] = {
    "name": ["--name", "mine"],
    "mode": ["--mode", "learn"],
    "learn_epochs": ["--learn-epochs", "2.5"],
    "outputs": ["--output", "a", "--outputs", "b"],
    "shapes": ["--shape", "30x1", "--shape", "5"],
    "decision_axis": ["--decision-axis", "-2"],
    "prune_embedding": ["--no-prune-embedding"],
    "check": ["--check-perplexity", "83.8", "--check-tolerance", "0.1"],
    "seed": ["--seed", "9223372036854775807"],
    "start_token": ["--start-token", "<eos>"],
}
VALUES = {
    "name": "mine",
    "mode": "learn",
    "learn_epochs": 2.5,
    "outputs": ["a", "b"],
    "shapes": [{"steps": 30, "batch": 1}, {"steps": 5, "batch": None}],
    "decision_axis": -2,
    "prune_embedding": False,
    "check": {"perplexity": 83.8, "tolerance": 0.1},
    "seed": 2**63 - 1,
    "start_token": "<eos>",
}


@pytest.mark.parametrize("field", EXAMPLES)
def test_option_sets_its_field_and_no_other(field: str) -> None:
    recipe = asked_for(*EXAMPLES[field])
    assert json.loads(recipe.model_dump_json())[field] == VALUES[field]
    assert recipe.model_copy(update={field: getattr(Recipe(), field)}) == Recipe()


@pytest.mark.parametrize(
    ("words", "budget"),
    [
        ("--loss 2%", Budget(loss=0.02)),
        ("--loss 0.02", Budget(loss=0.02)),
        ("--budget loss=2%", Budget(loss=0.02)),
        ("--budget quality=2%", Budget(loss=0.02)),
        ("--budget size=40%", Budget(size_ratio=0.4)),
        ("--budget size-ratio=.4", Budget(size_ratio=0.4)),
        ("--budget speed=3x", Budget(speedup=3)),
        ("--speedup 3X", Budget(speedup=3)),
        ("--f1-fall 1.5 --confident", Budget(f1_fall=1.5, confident=True)),
        ("--perplexity-rise 5e-2 --no-confident", Budget(perplexity_rise=0.05, confident=False)),
        ("--confident", Budget(confident=True)),
        ("", Budget()),
    ],
)
def test_budget_is_written_as_people_write_it(words: str, budget: Budget) -> None:
    assert asked_for(*words.split()).budget == budget


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--loss much", "'much': expected a number, such as 0.05, 5% or 3x"),
        ("--loss 1.2.3", "expected a number"),
        ("--f1-fall 1%", "'1%': expected points of 100, such as 1 for one point"),
        ("--budget f1_fall=1%", "expected points of 100"),
        ("--budget weight=3", "KIND is one of quality, size, speed, perplexity_rise"),
        ("--budget loss", "expected KIND=VALUE, such as loss=2%"),
        ("--loss 2% --speedup 3", "name one budget, not 2: loss=0.02, speedup=3"),
        ("--budget loss=5% --budget size=45%", "name one budget, not 2: loss=0.05, size=0.45"),
        ("--loss 2% --loss 5%", "name one budget, not 2: loss=0.02, loss=0.05"),
        ("--size-ratio 140%", "--size-ratio is 1.4: expected less than 1"),
        ("--seed -1", "--seed is -1: expected at least 0"),
        ("--name 'a b'", "--name is 'a b': expected: name of the resulting model: at most 64"),
        ("--seed x", "expected a valid integer"),
        ("--mode x", "'x' is not one of 'calibrate', 'learn'"),
        ("--shape 30by1", "'30by1': expected STEPSxBATCH, such as 30x1"),
        ("--shape 30 --shape 0x1", "--shapes: steps is 0: expected at least 1"),
        ("--check-tolerance 0.1", "--check-perplexity"),
        ("--start scratch", "start 'scratch' with the mode 'calibrate'"),
        ("--calibration-tokens 1 --held-out-tokens 1", "--held-out-tokens is 1"),
    ],
)
def test_what_is_wrong_is_said_once_without_a_pattern_or_a_library(words: str, told: str) -> None:
    done = CliRunner().invoke(app, f"compress {__file__} {words}")
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr
    for foreign in ("^[", "pydantic", "Value error", "Input should", "Traceback"):
        assert foreign not in done.stderr
    assert done.stderr.count("Error: ") == 1


def test_sweep_takes_each_limit_as_often_as_it_is_given() -> None:
    found: list[tuple[Recipe, list[Budget]]] = []
    program = typer.Typer(rich_markup_mode=None)

    @with_several_budgets
    def take(asked: tuple[Recipe, list[Budget]]) -> None:
        found.append(asked)

    command(program, "take")(take)
    words = "--budget loss=1% --loss 2% --loss 5% --speedup 3x --seed 4 --confident"
    assert CliRunner().invoke(program, words).exit_code == 0
    (recipe, asked) = found[0]
    assert recipe == Recipe(seed=4)
    limits = [{"loss": 0.01}, {"loss": 0.02}, {"loss": 0.05}, {"speedup": 3.0}]
    assert [each.limits for each in asked] == limits
    assert all(each.confident for each in asked)
    none = CliRunner().invoke(program, "")
    assert none.exit_code == 2
    for flag in ("--budget", *(flag_of([limit]) for limit in budgets.LIMITS)):
        assert flag in none.stderr
    assert "--," not in none.stderr
