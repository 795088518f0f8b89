"""Layers that have to keep one size lose their units together, each in an order of its own."""

from __future__ import annotations

import numpy as np
import torch

from isslim.compress.kinds.language.activations import collect_activations
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.pruning.ranking import RemovalPlan, kept_indices, rank_components
from isslim.compress.search.ablation import _by_loss

UNITS = ("units:lstm0", "units:lstm1", "units:lstm2")


def plan(*equal: tuple[str, ...]) -> RemovalPlan:
    torch.manual_seed(0)
    network = LstmLanguageModel(LstmSpec(20, 8, (10, 10, 10)))
    network.initialise(0.5, torch.Generator().manual_seed(1))
    text = torch.randint(20, (600,), generator=torch.Generator().manual_seed(2))
    return rank_components(
        network.arrays(),
        network.declaration(),
        collect_activations(network, text),
        prunable=[*UNITS, "embedding"],
        min_kept=2,
        rotate_axes=False,
        equal=equal,
    )


def sizes(found: RemovalPlan, share: float) -> list[int]:
    return [len(kept_indices(found, share)[0][axis]) for axis in UNITS]


def test_axes_of_a_group_keep_one_size_at_every_share() -> None:
    bound, free = plan(UNITS[:2]), plan()
    shares = np.linspace(0, 1, 101)
    tried = [sizes(bound, share) for share in shares]
    assert all(first == second for first, second, _ in tried)
    assert {first for first, _, _ in tried} == set(range(2, 11))  # none is left out
    assert any(third != first for first, _, third in tried)  # the third one is free
    assert any(len(set(sizes(free, share)[:2])) > 1 for share in shares)


def test_each_axis_of_a_group_keeps_its_own_order_and_all_savings_are_counted() -> None:
    bound, free = plan(UNITS), plan()
    for axis in (*UNITS, "embedding"):
        orders = ([each for name, each in found.order if name == axis] for found in (bound, free))
        assert len(set(map(tuple, orders))) == 1
    np.testing.assert_allclose(bound.savings.sum(), free.savings.sum(), rtol=1e-12)


def test_group_with_an_axis_that_may_not_shrink_stays_whole() -> None:
    found = plan((*UNITS[:2], "embedding of another kind"))
    assert {axis for axis, _ in found.order} == {UNITS[2], "embedding"}


def test_units_that_are_tried_alone_still_go_together() -> None:
    bound = plan(UNITS[:2])
    losses = np.random.default_rng(0).random(len(bound.order)).tolist()
    found = _by_loss(bound, losses)
    loss = dict(zip(bound.order, losses, strict=True))

    assert sorted(found.order) == sorted(bound.order)
    np.testing.assert_allclose(found.savings.sum(), bound.savings.sum(), rtol=1e-12)
    tried = [sizes(found, share) for share in np.linspace(0, 1, 101)]
    assert all(first == second for first, second, _ in tried)
    assert {first for first, _, _ in tried} == set(range(2, 11))
    for axis in UNITS:
        own = [loss[entry] for entry in found.order if entry[0] == axis]
        assert own == sorted(own)
    # The slow way: steps of the group and of single units, by what each loses for what it saves.
    saved = dict(zip(found.order, found.savings, strict=True))
    steps, place = [], 0
    while place < len(found.order):
        width = 2 if found.order[place][0] in UNITS[:2] else 1
        step = found.order[place : place + width]
        steps.append(sum(loss[entry] for entry in step) / saved[step[0]])
        place += width
    assert steps == sorted(steps)


def test_without_groups_the_order_is_that_of_losses_for_savings() -> None:
    free = plan()
    losses = np.random.default_rng(1).integers(0, 4, len(free.order)).astype(float)
    found = _by_loss(free, losses.tolist())
    # Ties keep the order that they had.
    places = np.argsort(losses / free.savings, kind="stable")
    assert list(found.order) == [free.order[place] for place in places]
    np.testing.assert_array_equal(found.savings, free.savings[places])
