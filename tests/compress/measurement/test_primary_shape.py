"""The latency that a verdict is about follows what the recipe asks to optimise."""

from __future__ import annotations

import pytest

from isslim.runtime.shape import Shape
from isslim.types.recipe import Budget, Optimize, Recipe, TimedShape
from tests.compress.measurement.test_int8_choice import network, task_of

BUDGET = Budget(perplexity_rise=0.05)


@pytest.mark.parametrize(
    ("optimize", "shape"),
    [
        ("stream", Shape(1, 1)),
        ("sentence", Shape(30, 1)),
        ("batch", Shape(30, 10)),
        ("size", Shape(30, 1)),
    ],
)
def test_the_primary_latency_is_what_the_recipe_optimizes(optimize: Optimize, shape: Shape) -> None:
    task = task_of(network(None))
    task.recipe = Recipe(budget=BUDGET, optimize=optimize)
    assert task.primary_shape == shape
    assert shape in task.shapes  # and is published


def test_shapes_that_the_recipe_names_come_first() -> None:
    task = task_of(network(None))
    task.recipe = Recipe(
        budget=BUDGET,
        optimize="batch",
        shapes=[TimedShape(steps=7), TimedShape(steps=30, batch=10)],
    )
    assert task.primary_shape == Shape(7)


def test_a_recipe_that_says_nothing_keeps_its_job() -> None:
    assert "optimize" not in Recipe(optimize="sentence").model_dump()
    assert Recipe(optimize="stream").model_dump()["optimize"] == "stream"
