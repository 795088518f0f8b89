"""Shrinking in the middle of training, against the full network with masked components."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec
from isslim.compress.pruning import axes
from isslim.compress.training.shrinking import shrink
from tests.compress.kinds.language.training.language import noisy_text
from tests.compress.pruning.networks.test_axes_of_networks import random_keep

Make = Callable[[LanguageModel], torch.optim.Optimizer]

NETWORKS: dict[str, Callable[[], LanguageModel]] = {
    "untied": lambda: LstmLanguageModel(LstmSpec(12, 6, (8, 5))),
    "tied": lambda: LstmLanguageModel(LstmSpec(12, 7, (9, 7), tied=True)),
    "gru": lambda: GruLanguageModel(GruSpec(12, 6, (8, 5))),
    "ranks": lambda: LstmLanguageModel(
        LstmSpec(12, 6, (8, 5), bottleneck=4, input_ranks=(0, 4), recurrent_ranks=(4, 3))
    ),
    "blocks": lambda: GruLanguageModel(
        GruSpec(12, 6, (8, 5), input_ranks=(4, 0), blocks=(5, 7), block_ranks=(4, 3))
    ),
    "rhn": lambda: RhnLanguageModel(RhnSpec(12, 8, 8, 2, tied=True)),
}
OPTIMIZERS: dict[str, Make] = {
    "momentum": lambda network: torch.optim.SGD(network.parameters(), lr=0.3, momentum=0.9),
    "adamw": lambda network: torch.optim.AdamW(
        network.parameters(), lr=0.01, weight_decay=0.1, amsgrad=True
    ),
    "asgd": lambda network: torch.optim.ASGD(network.parameters(), lr=0.3, lambd=0.0, t0=0.0),
}


def step(network: LanguageModel, optimizer: torch.optim.Optimizer, tokens: Tensor) -> float:
    """One step on tokens (T + 1, B), with the loop's clip; returns the loss before it."""
    optimizer.zero_grad()
    logits, _ = network(tokens[:-1], network.zero_state(tokens.shape[1]))
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten())
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 0.25)
    optimizer.step()
    return float(loss.detach())


def hold(network: LanguageModel, keep: axes.Keep) -> None:
    """Zeroes every slice of the removed components with their biases: their activation is zero."""
    silent = axes.mask_components(network.arrays(), network.declaration(), keep)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(silent[name]))


def memory(
    network: LanguageModel, optimizer: torch.optim.Optimizer, kind: str
) -> dict[str, axes.Array]:
    """An optimizer's state of each parameter under one name; empty where it has none."""
    named = (
        (name, optimizer.state[parameter].get(kind))
        for name, parameter in network.named_parameters()
    )
    return {name: value.numpy().copy() for name, value in named if value is not None}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_steps_after_a_shrink_are_those_of_the_whole_network_with_dead_components(
    name: str, optimizer: str
) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    network.initialise(0.4, torch.Generator().manual_seed(1))
    own = OPTIMIZERS[optimizer](network)
    tokens = noisy_text(11 * 8).view(8, 11).t()
    for _ in range(3):  # so that there is something to remember
        step(network, own, tokens)
    declaration = network.declaration()
    keep = random_keep(declaration, 2)
    hold(network, keep)
    small, its = shrink(network, own, keep)
    for _ in range(3):
        assert step(small, its, tokens) == pytest.approx(step(network, own, tokens), rel=1e-5)
        expected, _ = axes.select_components(network.arrays(), declaration, keep)
        for each, array in small.arrays().items():
            np.testing.assert_allclose(array, expected[each], rtol=1e-4, atol=1e-6)
        for kind in ("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "ax"):
            remembered = memory(network, own, kind)
            if (
                remembered
            ):  # averaged weights act on no step: only here it shows whether they were taken along
                whole = network.arrays() | remembered
                expected, _ = axes.select_components(whole, declaration, keep)
                for each, array in memory(small, its, kind).items():
                    np.testing.assert_allclose(array, expected[each], rtol=1e-4, atol=1e-6)
        hold(
            network, keep
        )  # its optimizer still remembers the dead and has moved them; the small one's does not


def test_loss_after_a_shrink_is_the_same_although_biases_keep_the_dead_moving() -> None:
    network = NETWORKS["untied"]()
    network.initialise(0.4, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "bias" in name:
                parameter.uniform_(0.2, 0.6)
    keep = random_keep(network.declaration(), 2)
    biases = {name: array for name, array in network.arrays().items() if "bias" in name}
    network = network.rebuilt(
        axes.mask_components(network.arrays(), network.declaration(), keep) | biases
    )
    own = OPTIMIZERS["momentum"](network)
    small, its = shrink(network, own, keep)
    tokens = noisy_text(11 * 8).view(8, 11).t()
    assert step(small, its, tokens) == pytest.approx(step(network, own, tokens), rel=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_shrinking_leaves_network_and_optimizer_alone_and_shares_no_memory(optimizer: str) -> None:
    network = NETWORKS["untied"]()
    own = OPTIMIZERS[optimizer](network)
    tokens = noisy_text(11 * 8).view(8, 11).t()
    step(network, own, tokens)
    weights = network.arrays()
    remembered = {
        p: {key: torch.as_tensor(value).clone() for key, value in s.items()}
        for p, s in own.state.items()
    }
    small, its = shrink(network, own, {"units:lstm1": np.array([0, 3])})
    for _ in range(2):
        step(small, its, tokens)
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(array, weights[name])
    for parameter, state in remembered.items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(own.state[parameter][key]), value)


def test_optimizer_of_several_groups_is_refused() -> None:
    network = NETWORKS["untied"]()
    first, *others = network.parameters()
    optimizer = torch.optim.SGD([{"params": [first], "lr": 0.1}, {"params": others, "lr": 0.2}])
    with pytest.raises(ValueError, match="has 2 groups"):
        shrink(network, optimizer, {"embedding": np.array([0, 1])})
