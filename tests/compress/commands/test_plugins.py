"""Learners and criteria by name: built-in, a user's own, and what is neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from isslim.compress.commands.plugins import (
    LEARNERS,
    METHODS,
    PluginUnusable,
    criterion_named,
    learner_named,
    options_of,
)
from isslim.compress.pruning.selection import removal_order
from isslim.compress.training.learners.gates import HardConcreteGates
from isslim.compress.training.learners.group_lasso import PaperGroupLasso
from isslim.types.recipe import Recipe

BROKEN = """
import numpy as np
from isslim.compress.pruning.selection import RemovalOrder
from isslim.compress.training.learners.group_lasso import PaperGroupLasso
from examples.weakest_units import WeakestUnits

class Nothing:
    def attach(self, network): ...
    def penalty(self): ...

class WrongArguments(PaperGroupLasso):
    def after_step(self): ...

class Refusing(WeakestUnits):
    def __init__(self): raise ValueError("never")

number = 7
def takes_nothing(): ...
def returns_a_list(axis, covariance, energy, *, min_kept=1): return [0]
def removes_twice(axis, covariance, energy, *, min_kept=1):
    return RemovalOrder(axis, np.array([0, 0]), np.array([1.0, 2.0]))
def removes_all(axis, covariance, energy, *, min_kept=1):
    return RemovalOrder(axis, np.arange(len(energy)), np.arange(len(energy)) + 0.0)
def falls(axis, covariance, energy, *, min_kept=1):
    return RemovalOrder(axis, np.array([0, 1]), np.array([2.0, 1.0]))
def endless(axis, covariance, energy, *, min_kept=1):
    return RemovalOrder(axis, np.array([0, 1]), np.array([1.0, np.nan]))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_ways.py").write_text(BROKEN)
    (tmp_path / "needs_more.py").write_text("import a_library_that_is_not_there\n")
    (tmp_path / "fails.py").write_text("1 / 0\n")
    return tmp_path


def built(name: str, options: dict[str, Any] | None = None) -> Any:
    return learner_named(name, options or {}, steps=100, seed=3)


def test_built_in_learners_get_options_steps_and_seed() -> None:
    lasso = built("group_lasso", {"strength": 0.5, "shrink": True})
    assert isinstance(lasso, PaperGroupLasso)
    assert (lasso.strength, lasso.shrink) == (0.5, True)
    gates = built("l0", {"target": 0.5})
    assert isinstance(gates, HardConcreteGates)
    assert gates.steps == 50  # the wanted share falls over the first half of all steps
    assert built("l0", {"target": 0.5, "steps": 30}).steps == 15


@pytest.mark.parametrize("name", LEARNERS)
def test_built_in_learners_pass_the_checks_of_a_plug_in(name: str) -> None:
    kind = LEARNERS[name]
    options = {"strength": 0.5} if name == "group_lasso" else {"target": 0.5}
    assert type(built(f"{kind.__module__}:{kind.__name__}", options)) is kind
    assert all(hasattr(kind, method) for method in METHODS)
    assert "living" in METHODS


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("magic", {}, "there is no learner 'magic'; there are group_lasso, proximal, l0, and your"),
        ("own_ways:", {}, "package.module:Name"),
        ("not_there.at_all:Learner", {}, "there is no module 'not_there'; it is looked for in"),
        ("needs_more:Learner", {}, "imports 'a_library_that_is_not_there', which is not install"),
        ("fails:Learner", {}, "importing 'fails' raised ZeroDivisionError: division by zero"),
        ("own_ways:Learner", {}, "has no 'Learner'; it defines Nothing, WrongArguments, Refusing"),
        ("own_ways:number", {}, "is of the type int; a class is expected"),
        ("own_ways:Nothing", {}, "lacks substituted, after_step, extra_parameters, after_epoch, l"),
        ("own_ways:WrongArguments", {}, r"other arguments than after_step\(learning_rate\)"),
        ("group_lasso", {}, "missing a required argument: 'strength'; it takes strength"),
        ("group_lasso", {"strenght": 1}, "strenght|missing a required argument: 'strength'"),
        ("examples.weakest_units:WeakestUnits", {"each_epoch": 2}, "each_epoch = 2: a share"),
    ],
)
def test_what_is_no_learner_is_refused_with_what_it_lacks(
    own: Path, name: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        built(name, options)


def test_a_recipe_cannot_name_code() -> None:
    with pytest.raises(ValidationError, match="learner"):
        Recipe.model_validate({"learner": "examples.weakest_units:WeakestUnits"})


def test_the_built_in_criterion_is_optimal_brain_surgeon() -> None:
    generator = np.random.default_rng(1)
    root = generator.normal(size=(2, 5, 5))
    covariance, energy = root[0] @ root[0].T, root[1] @ root[1].T
    found = criterion_named("optimal_brain_surgeon")("units:a", covariance, energy, min_kept=2)
    expected = removal_order("units:a", covariance, energy, min_kept=2)
    assert found.components.tolist() == expected.components.tolist()
    assert found.costs.tolist() == expected.costs.tolist()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("magnitude", "there is no criterion 'magnitude'; there are optimal_brain_surgeon"),
        ("own_ways:number", "is of the type int; a function is expected"),
        ("own_ways:takes_nothing", r"is not a criterion: .*called with \(axis, covariance, ener"),
    ],
)
def test_what_is_no_criterion_is_refused(own: Path, name: str, told: str) -> None:
    with pytest.raises(PluginUnusable, match=told):
        criterion_named(name)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("returns_a_list", "of the type list; a RemovalOrder is expected"),
        ("removes_twice", "components that are not distinct numbers from 0 to 2"),
        ("removes_all", r"\(3,\) components and \(3,\) costs; .* at most 2 components"),
        ("falls", "costs that fall or are not finite"),
        ("endless", "costs that fall or are not finite"),
    ],
)
def test_an_order_that_is_none_is_refused(own: Path, name: str, told: str) -> None:
    criterion = criterion_named(f"own_ways:{name}")
    with pytest.raises(PluginUnusable, match=f"{name}' returned for the axis 'units:a' {told}"):
        criterion("units:a", np.eye(3), np.eye(3), min_kept=1)


def test_options_are_literals_or_texts() -> None:
    given = ["strength=0.5", "shrink=True", "name=mine", "sizes=[1, 2]", "text=a=b"]
    assert options_of(given) == {
        "strength": 0.5,
        "shrink": True,
        "name": "mine",
        "sizes": [1, 2],
        "text": "a=b",
    }
    for wrong in ("strength", "=1", "a b=1"):
        with pytest.raises(PluginUnusable, match="NAME=VALUE is expected"):
            options_of([wrong])
