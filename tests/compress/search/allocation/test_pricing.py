"""What sizes are chosen for, and what a network then costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isslim.compress.kinds.language.networks.lstm import LstmSpec, declare
from isslim.compress.kinds.language.networks.names import input_place, recurrent_place
from isslim.compress.pruning import axes, blocks
from isslim.compress.pruning.axes import NetworkAxes
from isslim.compress.pruning.narrow import BOTTLENECK, declare_narrow, without_narrow
from isslim.compress.search.allocation.pricing import FILE, SCANNED, Pricing, price
from isslim.runtime.shape import Shape
from isslim.types.recipe import Recipe
from tests.compress.search.allocation.toy_probes import ProbedTask, task_of
from tests.compress.search.toy import Toy
from tests.compress.search.toy_text import time_of

WHOLE = task_of().original.declaration()


def priced(task: ProbedTask, folder: Path) -> Pricing:
    return price(task, folder, lambda done, message: None)


@pytest.mark.parametrize(
    ("asked", "basis", "reason"),
    [
        ({}, "time", "the time of one text of 30 tokens in int8, measured"),
        ({"optimize": "stream"}, "time", "the time of one text of 1 token in int8"),
        ({"optimize": "batch"}, "time", "the time of 10 texts of 30 tokens each in int8"),
        (
            {"optimize": "batch", "budget": {"speedup": 2.0}},
            "time",
            "10 texts of 30 tokens each in float32",
        ),
        ({"optimize": "size"}, "parameters", "counting parameters"),
        ({"budget": {"size_ratio": 0.5}}, "parameters", "counting parameters"),
    ],
)
def test_it_is_what_the_recipe_says(
    asked: dict[str, Any], basis: str, reason: str, tmp_path: Path
) -> None:
    task = task_of(Recipe.model_validate(asked))
    task.usual_shapes = (*task.usual_shapes, Shape(30, 10))
    found = priced(task, tmp_path)
    assert found.basis == basis
    assert reason in found.reason
    assert found.main is (task.parameters if basis == "parameters" else time_of) or basis != "time"


class Unsteady(ProbedTask):
    """A host that cannot be timed."""

    def cost(self, work: Path, progress: object) -> None:
        return None


def test_without_a_steady_clock_sizes_are_chosen_by_counting(tmp_path: Path) -> None:
    task = task_of()
    unsteady = Unsteady(task.original, task.recipe, task.rule)
    found = priced(unsteady, tmp_path)
    assert found.basis == "multiply-adds"
    assert found.reason == (
        "sizes chosen by counting multiply-adds, because the clock of the host was not steady"
    )

    class Untimed(Unsteady):
        timed = False

    untimed = Untimed(task.original, task.recipe, task.rule)
    assert priced(untimed, tmp_path).reason == "sizes chosen by counting multiply-adds"
    smaller = axes.resized(WHOLE, {"units": 5})
    size = axes.parameters(smaller) / axes.parameters(WHOLE)
    work = axes.mult_adds(smaller) / axes.mult_adds(WHOLE)
    assert found.cost(smaller) == pytest.approx(work + FILE * size, rel=1e-12)


def test_multiply_adds_count_as_the_task_says_that_they_take_time(tmp_path: Path) -> None:
    class Waiting(Unsteady):
        def work(self, declaration: axes.NetworkAxes) -> float:
            return float(declaration.axes["units"] ** 2)

    task = task_of()
    found = priced(Waiting(task.original, task.recipe, task.rule), tmp_path)
    assert found.main(axes.resized(WHOLE, {"units": 5})) == 25
    assert found.main(axes.resized(WHOLE, {"embedding": 5})) == found.main(WHOLE)


def test_the_original_costs_one_and_its_file(tmp_path: Path) -> None:
    found = priced(task_of(), tmp_path)
    assert found.cost(WHOLE) == pytest.approx(1 + FILE)
    half = axes.resized(WHOLE, {"embedding": 5})
    size = axes.parameters(half) / axes.parameters(WHOLE)
    assert found.cost(half) == pytest.approx(6 / 11 + FILE * size, rel=1e-12)


@pytest.mark.parametrize(("width", "stays"), [(10, False), (9, True), (3, True)])
def test_a_narrow_layer_that_was_put_in_is_there_only_where_it_pays(
    width: int, stays: bool
) -> None:
    pricing = Pricing(axes.mult_adds, WHOLE, "multiply-adds", "")
    narrow = declare_narrow(WHOLE, BOTTLENECK, width)
    found = pricing.cheapest(narrow)
    assert (BOTTLENECK.axis in found.axes) is stays
    assert pricing.cost(found) == min(map(pricing.cost, (WHOLE, narrow)))


def test_a_narrow_layer_of_the_original_stays() -> None:
    narrow = declare_narrow(WHOLE, BOTTLENECK, 10)
    assert Pricing(axes.mult_adds, narrow, "multiply-adds", "").cheapest(narrow) is narrow


@pytest.mark.parametrize(("ranks", "left"), [((10, 10), 0), ((10, 3), 1), ((3, 2), 2)])
def test_blocks_of_which_none_is_narrow_are_one_matrix(ranks: tuple[int, int], left: int) -> None:
    pricing = Pricing(axes.mult_adds, WHOLE, "multiply-adds", "")
    declaration = blocks.declare_blocks(WHOLE, (50, 70))
    for block, rank in enumerate(ranks):
        declaration = declare_narrow(declaration, blocks.place_of(block), rank)
    found = pricing.cheapest(declaration)
    assert len(found.narrow) == left
    assert blocks.block_sizes(found) == ((50, 70) if left else ())
    if not left:
        assert pricing.cost(found) == pytest.approx(pricing.cost(WHOLE), rel=1e-12)


INWARD, ACROSS = input_place("lstm", 1, joint=True), recurrent_place("lstm", 1, joint=True)


class Layers(Toy):
    """Two LSTM layers."""

    def declaration(self) -> NetworkAxes:
        return declare(LstmSpec(50, 40, (30, SCANNED)))


def with_ranks(whole: NetworkAxes, units: int) -> NetworkAxes:
    """Recurrences of rank 5, the second of so many units."""
    for index in (0, 1):
        whole = declare_narrow(whole, recurrent_place("lstm", index, joint=True), 5)
    return axes.resized(whole, {"units:lstm1": units})


@pytest.mark.parametrize(
    ("optimize", "left"),
    [("stream", [1]), ("sentence", [1]), ("batch", [1]), ("size", [0, 1])],
)
def test_where_counts_stand_for_time_narrow_recurrences_of_small_layers_save_none(
    optimize: str, left: list[int], tmp_path: Path
) -> None:
    recipe = Recipe.model_validate({"optimize": optimize})
    found = priced(Unsteady(Layers({}), recipe, task_of().rule), tmp_path)
    large, small = (with_ranks(found.whole, units) for units in (SCANNED, SCANNED - 1))
    stay = {place.axis for place in found.cheapest(large).narrow}
    assert stay == {f"rank:lstm{index}.recurrent" for index in left}
    plain = axes.resized(found.whole, {"units:lstm1": SCANNED - 1})
    if optimize == "size":
        assert found.cheapest(small) == small
        assert found.cost(small) < found.cost(plain)
    else:
        assert found.cheapest(small) == plain
        assert found.cost(small) == pytest.approx(found.cost(plain), rel=1e-12)


def test_a_narrow_recurrence_of_the_original_counts_alike(tmp_path: Path) -> None:
    class Ranked(Layers):
        def declaration(self) -> NetworkAxes:
            return with_ranks(super().declaration(), SCANNED - 1)

    recipe = Recipe.model_validate({})
    found = priced(Unsteady(Ranked({}), recipe, task_of().rule), tmp_path)
    assert found.cheapest(found.whole) == found.whole
    assert found.cost(found.whole) == pytest.approx(1 + FILE, rel=1e-12)
    fewer = axes.resized(found.whole, {"rank:lstm1.recurrent": 2})
    assert found.cost(fewer) == pytest.approx(1 + FILE, rel=1e-12)


def test_what_is_left_out_is_chosen_among_all_narrow_layers() -> None:
    whole = declare(LstmSpec(50, 40, (30, 20)))
    # Either of the two costs less than both, and the later one alone the least of all.
    times = {(INWARD, ACROSS): 10.0, (ACROSS,): 9.0, (INWARD,): 5.0, (): 7.0}

    def time(declaration: NetworkAxes) -> float:
        return times[tuple(place for place in (INWARD, ACROSS) if place in declaration.narrow)]

    both = declare_narrow(declare_narrow(whole, INWARD, 4), ACROSS, 4)
    pricing = Pricing(time, whole, "time", "")
    left_out = [without_narrow(both, place) for place in (INWARD, ACROSS)]
    best = min([both, *left_out, whole], key=pricing.cost)
    assert pricing.cheapest(both) == best
    assert best.narrow == (INWARD,)
