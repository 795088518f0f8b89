"""The noise of training: where it acts, that it keeps expectations and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.registry import build
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel
from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel
from isslim.compress.layers.regularisation import Regularisation
from tests.compress.kinds.language.networks.slow import NETWORKS, V

EVERYTHING = Regularisation(
    dropout=0.3,
    variational=True,
    dropout_embedding=0.2,
    dropout_input=0.4,
    dropout_output=0.4,
    weight_drop=0.5,
)


def noisy(name: str, noise: Regularisation, seed: int = 0) -> LanguageModel:
    torch.manual_seed(seed)
    network = build(NETWORKS[name], noise)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.6, 0.6)
    return network


def tokens(steps: int = 6, batch: int = 4) -> Tensor:
    return torch.randint(V, (steps, batch), generator=torch.Generator().manual_seed(1))


def test_variational_dropout_has_one_mask_for_all_steps_and_zaremba_a_fresh_one() -> None:
    torch.manual_seed(0)
    ones = torch.ones(50, 3, 40)
    one = Regularisation(dropout=0.5, variational=True).dropped(ones, 0.5, training=True)
    assert torch.equal(one, one[:1].expand_as(one))
    assert not torch.equal(one[:, 0], one[:, 1])  # sequences of a batch have masks of their own
    fresh = Regularisation(dropout=0.5).dropped(ones, 0.5, training=True)
    assert len({tuple(step.flatten().tolist()) for step in fresh}) == 50


@pytest.mark.parametrize("variational", [False, True])
def test_expectation_is_kept(variational: bool) -> None:
    torch.manual_seed(0)
    noise = Regularisation(
        variational=variational, dropout_embedding=0.3, dropout_state=0.3, weight_drop=0.3
    )
    values, table, matrix = (
        torch.rand(2, 3, 4) + 0.5,
        torch.rand(V, 4) + 0.5,
        torch.rand(8, 4) + 0.5,
    )
    ids = tokens(2, 3)
    count = 5000  # means of a draw's 65 % within 1 %
    sums = [torch.zeros(()), torch.zeros(()), torch.zeros(()), torch.zeros(())]
    for _ in range(count):
        mask = noise.state_mask(values[0], training=True)
        assert mask is not None
        found = (
            noise.dropped(values, 0.3, training=True),
            noise.embedded(table, ids, training=True),
            noise.connected(matrix, training=True),
            values[0] * mask,
        )
        sums = [total + each for total, each in zip(sums, found, strict=True)]
    for total, expected in zip(sums, (values, table[ids], matrix, values[0]), strict=True):
        torch.testing.assert_close(total / count, expected, rtol=0.05, atol=0)


def test_embedding_dropout_takes_whole_words_wherever_they_stand() -> None:
    torch.manual_seed(0)
    table, ids = torch.rand(V, 5) + 0.5, torch.randint(V, (40, 8))
    found = Regularisation(dropout_embedding=0.5).embedded(table, ids, training=True)
    fate = {}
    for word, vector in zip(ids.flatten().tolist(), found.flatten(0, 1), strict=True):
        dropped = bool((vector == 0).all())
        torch.testing.assert_close(
            vector, torch.zeros(5) if dropped else 2 * table[word], rtol=0, atol=1e-6
        )
        assert fate.setdefault(word, dropped) == dropped
    assert 0 < sum(fate.values()) < len(fate)


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_is_exact_and_training_is_not(name: str) -> None:
    noise = replace(EVERYTHING, dropout_state=0.3) if name.startswith("rhn") else EVERYTHING
    network, plain = noisy(name, noise).eval(), noisy(name, Regularisation()).eval()
    state = network.zero_state(4)
    with torch.no_grad():
        torch.testing.assert_close(
            network(tokens(), state)[0], plain(tokens(), state)[0], rtol=0, atol=0
        )
        network.train()
        assert not torch.allclose(network(tokens(), state)[0], plain(tokens(), state)[0], atol=0.1)


@pytest.mark.parametrize("name", NETWORKS)
def test_training_with_weight_drop_leaves_no_dropped_weight_behind(name: str) -> None:
    network = noisy(name, EVERYTHING).train()
    before = network.arrays()
    for _ in range(3):
        logits, _ = network(tokens(), network.zero_state(4))
        logits.square().sum().backward()
    for key, array in network.arrays().items():
        np.testing.assert_array_equal(array, before[key])
    assert network.arrays().keys() == network.rebuilt(before, EVERYTHING).arrays().keys()
    assert network.rebuilt(before, EVERYTHING).regularisation == EVERYTHING


@pytest.mark.parametrize("name", ["lstm", "gru", "rhn"])
def test_weight_drop_equals_a_network_whose_recurrent_weights_are_dropped_by_hand(
    name: str,
) -> None:
    network = noisy(name, Regularisation(weight_drop=0.5)).train()
    state = network.zero_state(4)
    torch.manual_seed(9)
    logits, _ = network(tokens(), state)
    logits.square().sum().backward()
    recurrent = [
        key for key, _ in network.named_parameters() if "weight_hh" in key or ".depths." in key
    ]
    recurrent = [key for key in recurrent if not key.endswith("bias")]
    torch.manual_seed(9)
    arrays = network.arrays()
    kept = {}
    for key in recurrent:  # the order in which the layers draw their masks
        kept[key] = functional.dropout(torch.ones(arrays[key].shape), 0.5)
        arrays[key] = arrays[key] * kept[key].numpy()
    by_hand = network.rebuilt(arrays)
    torch.testing.assert_close(logits, by_hand(tokens(), state)[0], rtol=0, atol=1e-5)
    for key in recurrent:
        gradient = network.get_parameter(key).grad
        assert gradient is not None
        assert torch.equal(gradient[kept[key] == 0], torch.zeros_like(gradient[kept[key] == 0]))
        assert bool((gradient[kept[key] > 0] != 0).all())


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_zaremba_dropout_never_touches_a_recurrent_connection(name: str) -> None:
    network = noisy(name, Regularisation(dropout=0.5)).train()
    assert isinstance(network, StackedLanguageModel)
    with torch.no_grad():
        for layer in network.layers:
            layer.get_parameter(
                "weight_ih_l0"
            ).zero_()  # nothing is heard from below: only the recurrence is left
        state = network.zero_state(4)
        first, second = (network.hidden(tokens(), state)[0][-1] for _ in range(2))
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        assert not torch.equal(
            network(tokens(), state)[0], network(tokens(), state)[0]
        )  # the decoder's input


def test_rhn_state_dropout_has_one_mask_for_all_steps_and_depths() -> None:
    network = noisy("rhn", Regularisation(dropout_state=0.5)).train()
    assert isinstance(network, RhnLanguageModel)
    torch.manual_seed(4)
    with torch.no_grad():
        logits, _ = network(tokens(), network.zero_state(4))
        torch.manual_seed(4)
        mask = torch.empty(4, 9).bernoulli_(0.5) * 2
        state, expected = torch.zeros(4, 9), []
        for row in tokens():
            fed = network.embedding.weight[row] @ network.highway.input.weight.t()
            for depth, each in enumerate(network.highway.depths):
                gates = (state * mask) @ each.get_parameter("weight").t() + each.get_parameter(
                    "bias"
                )
                h, t = (gates + fed if depth == 0 else gates).chunk(2, dim=-1)
                state = h.tanh() * t.sigmoid() + state * (
                    1 - t.sigmoid()
                )  # what is carried is not dropped
            expected.append(network.decoder(state))
    torch.testing.assert_close(logits, torch.stack(expected), rtol=0, atol=1e-5)


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"dropout": 1.0}, {"weight_drop": -0.1}, {"dropout_input": 2.0}):
        with pytest.raises(ValueError, match="is a probability"):
            Regularisation(**wrong)
    with pytest.raises(ValueError, match="recurrent highway networks only"):
        build(NETWORKS["gru"], Regularisation(dropout_state=0.2))


def test_a_number_is_dropout_between_layers_and_at_both_ends() -> None:
    noise = build(NETWORKS["lstm"], 0.25).regularisation
    assert noise == Regularisation(dropout=0.25)
    assert (noise.before_first, noise.behind_last) == (0.25, 0.25)
    apart = Regularisation(dropout=0.25, dropout_input=0.5, dropout_output=0.0)
    assert (apart.before_first, apart.behind_last) == (0.5, 0.0)
