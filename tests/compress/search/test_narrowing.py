"""What a recipe lets an order of removal put in, and that a cut with blocks is proven."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning import axes, blocks
from isslim.compress.pruning.axes import NarrowPlace
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.pruning.narrow import BOTTLENECK, declared_like
from isslim.compress.search.candidates import candidates
from isslim.compress.search.narrowing import narrowing_of
from isslim.types.recipe import Budget, Recipe
from tests.compress.search import toy_text
from tests.compress.search.toy import Stages, Toy, by_units
from tests.compress.search.toy_text import WORDS, Speaker, SpeakerTask

FREQUENT = 24
PLACE = NarrowPlace("rank:toy0.input", "layer.narrow", "n.weight", "n.bias", "layer", 0)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worth it in a toy of so few words."""
    monkeypatch.setattr(blocks, "LEAST_ROWS", 8)


class Deep(Speaker):
    """One with a place between its layers."""

    def narrow_places(self) -> tuple[NarrowPlace, ...]:
        return (PLACE,)


def few_words_need_much() -> Deep:
    """A speaker whose frequent words need all directions, and whose others need one."""
    generator = np.random.default_rng(3)
    arrays = toy_text.drawn().arrays()
    out = np.outer(generator.normal(size=WORDS), generator.normal(size=toy_text.UNITS))
    out[:FREQUENT] = 2 * generator.normal(size=(FREQUENT, toy_text.UNITS))
    return Deep(arrays | {"out": out.astype(np.float32)})


def observed(network: Toy) -> ActivationStatistics:
    found = toy_text.observed(network)
    counts = np.where(np.arange(WORDS) < FREQUENT, 300.0, 1.0)
    return ActivationStatistics(found.moments, found.tokens, counts)


@dataclass
class SkewedTask(SpeakerTask):
    """Its text has few frequent words."""

    def collect_activations(self, progress: ProgressCallback) -> ActivationStatistics:
        return observed(self.original)


ORIGINAL = few_words_need_much()


def task_for(may_narrow: bool = True, **asked: Any) -> SkewedTask:
    recipe = Recipe(budget=Budget(size_ratio=0.6), **asked)
    return SkewedTask(ORIGINAL, recipe, by_units(0.0), may_narrow=may_narrow)


@pytest.mark.parametrize(
    ("asked", "may_narrow", "places", "in_parts"),
    [
        ({}, True, [PLACE], True),
        ({"ranks": False}, True, [], True),
        ({"narrow_softmax": False}, True, [PLACE], False),
        ({}, False, [PLACE], False),
        ({"form": "same"}, True, [], False),
    ],
)
def test_the_recipe_says_what_may_be_put_in(
    asked: dict[str, Any], may_narrow: bool, places: list[NarrowPlace], in_parts: bool
) -> None:
    task = task_for(may_narrow, **asked)
    found, rows = narrowing_of(task, ORIGINAL, observed(ORIGINAL))
    assert found == places
    assert (sum(rows) == WORDS and len(rows) > 1) if in_parts else rows == ()


def test_without_frequencies_or_a_gain_the_softmax_has_one_narrow_layer() -> None:
    counted = observed(ORIGINAL)
    plain = ActivationStatistics(counted.moments, counted.tokens)
    assert narrowing_of(task_for(), ORIGINAL, plain) == ([PLACE, BOTTLENECK], ())
    flat = Deep(toy_text.drawn().arrays())
    assert narrowing_of(task_for(), flat, toy_text.observed(flat)) == ([PLACE, BOTTLENECK], ())


def test_a_softmax_that_is_narrow_already_stays_as_it_is() -> None:
    declaration = ORIGINAL.declaration()
    order = np.arange(WORDS)
    apart, _ = blocks.split(ORIGINAL.arrays(), declaration, order, (20, 100))
    given = Deep(apart)
    assert narrowing_of(task_for(), given, observed(given)) == ([PLACE], ())


def test_a_search_takes_the_softmax_apart_and_proves_the_cut(tmp_path: Path) -> None:
    task = task_for(ranks=False)
    found = next(candidates(task, tmp_path, Stages()))
    small = found.network.declaration()
    assert len(blocks.block_sizes(small)) > 1
    assert small.narrow
    ((before, pruned),) = task.verified
    assert before is ORIGINAL
    whole = declared_like(ORIGINAL.declaration(), small)
    back, _ = axes.select_components(pruned.reference, whole, pruned.keep)
    for name, array in pruned.arrays.items():
        np.testing.assert_array_equal(array, back[name])
    assert axes.parameters(small) <= 0.6 * axes.parameters(ORIGINAL.declaration())
