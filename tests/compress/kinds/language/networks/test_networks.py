"""Every network against its equations and torch's own layers, and with substituted parameters."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.registry import build, spec_of
from isslim.compress.kinds.language.networks.rhn import TRANSFORM_BIAS, RhnLanguageModel, RhnSpec
from isslim.compress.layers.recurrent import GruLayer, LstmLayer, RecurrentLayer
from isslim.compress.layers.regularisation import Regularisation
from isslim.compress.training.state import State, detach
from tests.compress.kinds.language.networks.slow import EVERY, NETWORKS, V, slow_log_probs


def random_network(name: str, seed: int = 0) -> LanguageModel:
    torch.manual_seed(seed)
    network = build(EVERY[name]).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.6, 0.6)
        for indices in network.buffers():
            indices.copy_(torch.randperm(len(indices)))
    return network


def random_tokens(steps: int = 9, batch: int = 3, seed: int = 1) -> Tensor:
    return torch.randint(V, (steps, batch), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def scores(network: LanguageModel, tokens: Tensor) -> np.ndarray:
    """In two runs, the state carried."""
    first, state = network(tokens[:5], network.zero_state(tokens.shape[1]))
    second, _ = network(tokens[5:], state)
    result: np.ndarray = torch.cat([first, second]).log_softmax(-1).numpy()
    return result


@pytest.mark.parametrize("name", EVERY)
def test_network_follows_its_equations_with_carried_state(name: str) -> None:
    network, tokens = random_network(name), random_tokens()
    np.testing.assert_allclose(
        scores(network, tokens), slow_log_probs(network, tokens.numpy()), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("ours", "theirs"), [(LstmLayer, nn.LSTM), (GruLayer, nn.GRU)])
def test_layer_equals_torchs_own_with_gradients(
    ours: type[RecurrentLayer], theirs: type[nn.RNNBase]
) -> None:
    torch.manual_seed(0)
    expected = theirs(5, 8)
    layer = ours(5, 8)
    layer.load_state_dict(expected.state_dict())  # the same names
    inputs = torch.randn(7, 3, 5)
    state = tuple(torch.randn(1, 3, 8) for _ in range(ours.states))
    output, after = layer(inputs, state, Regularisation())
    wanted, wanted_after = expected(inputs, state if len(state) > 1 else state[0])
    torch.testing.assert_close(output, wanted, rtol=0, atol=0)
    torch.testing.assert_close(
        after[0], wanted_after[0] if len(state) > 1 else wanted_after, rtol=0, atol=0
    )
    for each in (output, wanted):
        each.square().sum().backward()
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(
            layer.get_parameter(name).grad, parameter.grad, rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("name", EVERY)
def test_functional_call_runs_and_learns_with_substitutes_only(name: str) -> None:
    network, other, tokens = random_network(name, 0), random_network(name, 1), random_tokens()
    state = network.zero_state(3)
    substitutes = {
        key: value.detach().clone().requires_grad_() for key, value in other.named_parameters()
    }
    network.load_state_dict(dict(other.named_buffers()), strict=False)
    logits, after = torch.func.functional_call(network, substitutes, (tokens, state))
    expected, expected_after = other(tokens, state)
    torch.testing.assert_close(logits, expected, rtol=0, atol=0)
    torch.testing.assert_close(after, expected_after, rtol=0, atol=0)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for key, parameter in other.named_parameters():
        torch.testing.assert_close(substitutes[key].grad, parameter.grad, rtol=0, atol=1e-5)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("name", EVERY)
def test_copies_and_rebuilt_networks_are_the_same_network(name: str) -> None:
    network, tokens = random_network(name), random_tokens()
    for same in (network.rebuilt(network.arrays()), copy.deepcopy(network)):
        np.testing.assert_array_equal(scores(same, tokens), scores(network, tokens))
        assert same.declaration() == network.declaration()
    loaded = random_network(name, 7)
    loaded.load_state_dict(network.state_dict())
    np.testing.assert_array_equal(scores(loaded, tokens), scores(network, tokens))


@pytest.mark.parametrize("name", NETWORKS)
def test_site_inputs_times_the_sites_matrices_are_its_preactivations(name: str) -> None:
    network, tokens = random_network(name), random_tokens()
    arrays = network.arrays()
    with torch.no_grad():
        # The second half, so that the carried state is not zero.
        _, state = network(tokens[:4], network.zero_state(3))
        inputs, after = network.site_inputs(tokens[4:], state)
        logits, expected_after = network(tokens[4:], state)
    torch.testing.assert_close(after, expected_after, rtol=0, atol=1e-6)
    sites = {site.name: site for site in network.declaration().sites}
    assert inputs.keys() == sites.keys()
    joint = {
        key: inputs[key].numpy()
        @ np.concatenate([arrays[reader.parameter] for reader in site.readers], axis=1).T
        + arrays[site.bias]
        for key, site in sites.items()
    }
    np.testing.assert_allclose(joint["decoder"], logits.numpy(), rtol=0, atol=1e-5)
    if isinstance(network, RhnLanguageModel):
        seen = [inputs[f"depths.{depth}"].numpy()[..., -9:] for depth in range(network.spec.depth)]
        seen.append(inputs["decoder"].numpy())
        for depth in range(network.spec.depth):
            h, t = np.split(joint[f"depths.{depth}"], 2, axis=-1)
            opened = 1 / (1 + np.exp(-t))
            expected = np.tanh(h) * opened + seen[depth] * (1 - opened)
            np.testing.assert_allclose(seen[depth + 1], expected, rtol=0, atol=1e-5)
    elif name.startswith("gru"):
        (ri, zi, ni), (rh, zh, nh) = (
            np.split(joint[f"layers.0.{part}"], 3, axis=-1) for part in ("input", "recurrent")
        )
        r, z = 1 / (1 + np.exp(-ri - rh)), 1 / (1 + np.exp(-zi - zh))
        previous = inputs["layers.0.recurrent"].numpy()
        expected = (1 - z) * np.tanh(ni + r * nh) + z * previous
        np.testing.assert_allclose(inputs["layers.1.input"].numpy(), expected, rtol=0, atol=1e-5)


def test_rhn_of_the_paper_has_its_23_million_weights_and_one_axis() -> None:
    # PAPER section 2: 22 w^2 + 10,020 w + 10,000, and the sizes of its table.
    from isslim.compress.kinds.language.networks.rhn import declare
    from isslim.compress.pruning import axes

    for width, millions in ((830, 23.5), (726, 18.9), (517, 11.1), (403, 7.62), (328, 5.66)):
        declaration = declare(RhnSpec(10_000, width, width, 10, tied=True))
        assert declaration.axes == {"units:rhn": width}
        assert axes.parameters(declaration) == 22 * width**2 + 10_020 * width + 10_000
        assert axes.parameters(declaration) / 1e6 == pytest.approx(millions, rel=3e-3)
        assert axes.mult_adds(declaration) == 22 * width**2 + 10_000 * width


def test_transform_gates_start_almost_closed_and_every_other_bias_at_zero() -> None:
    network = RhnLanguageModel(RhnSpec(V, 6, 9, 3))
    network.initialise(0.04, torch.Generator().manual_seed(0))
    for depth in range(3):
        bias = network.highway.depths[depth].get_parameter("bias")
        assert torch.equal(bias[:9], torch.zeros(9))
        assert torch.equal(bias[9:], torch.full((9,), TRANSFORM_BIAS))
    assert torch.equal(network.decoder.bias, torch.zeros(V))
    assert 0.03 < float(network.highway.input.weight.detach().abs().max()) <= 0.04


def test_sizes_that_do_not_fit_are_refused() -> None:
    for spec in (RhnSpec(V, 6, 9, 3, tied=True), spec_of("gru", V, 6, (9,), tied=True)):
        with pytest.raises(ValueError, match="a tied model needs"):
            build(spec)
    with pytest.raises(ValueError, match="at least 1"):
        build(RhnSpec(V, 6, 9, 0))


@pytest.mark.parametrize("name", NETWORKS)
def test_registry_builds_by_name_what_a_manifest_calls_it(name: str) -> None:
    spec, network = NETWORKS[name], build(NETWORKS[name])
    units = (spec.width,) if isinstance(spec, RhnSpec) else spec.units
    depth = spec.depth if isinstance(spec, RhnSpec) else 1
    for known in (name.split("-")[0], network.architecture):
        assert spec_of(known, V, spec.embedding, units, spec.tied, depth) == spec


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("mlp", V, 6, (9,)), "no architecture 'mlp'"),
        (("rhn", V, 6, (9, 9)), "one recurrent layer"),
        (("lstm", V, 6, (9,), False, 3), "'depth' is of an RHN only"),
        (("gru", V, 6, ()), "at least one layer"),
    ],
)
def test_registry_refuses_what_it_cannot_build(
    arguments: tuple[str, int, int, tuple[int, ...]], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        spec_of(*arguments)


def test_detached_state_ends_the_gradient() -> None:
    network, tokens = random_network("rhn"), random_tokens()
    state: State = detach(network(tokens, network.zero_state(3))[1])
    assert not any(each.requires_grad for layer in state for each in layer)
