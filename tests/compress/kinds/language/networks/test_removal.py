"""Removal, masking and repair on every network, against the equations with masked components."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.kinds.language.activations import collect_activations
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.registry import build
from isslim.compress.kinds.language.networks.rhn import RhnSpec
from isslim.compress.kinds.language.sizes import is_tied, parts
from isslim.compress.pruning import axes
from isslim.compress.pruning.ranking import prune, rank_components
from isslim.compress.pruning.repair import repair
from tests.compress.kinds.language.networks.slow import EVERY, NETWORKS, V, slow_log_probs
from tests.compress.kinds.language.networks.test_networks import (
    random_network,
    random_tokens,
    scores,
)

RECURRENT = [name for name in NETWORKS if not name.startswith("lstm")]


def random_keep(declaration: axes.NetworkAxes, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        axis: np.sort(generator.choice(size, max(1, size // 2), replace=False))
        for axis, size in declaration.axes.items()
    }


@pytest.mark.parametrize("name", EVERY)
def test_small_and_masked_networks_equal_the_full_one_with_removed_components_at_zero(
    name: str,
) -> None:
    network, tokens = random_network(name), random_tokens()
    declaration = network.declaration()
    for seed in range(3):
        keep = random_keep(declaration, seed)
        small, _ = axes.select_components(network.arrays(), declaration, keep)
        silent = axes.mask_components(network.arrays(), declaration, keep)
        expected = slow_log_probs(network, tokens.numpy(), keep)
        np.testing.assert_allclose(
            scores(network.rebuilt(small), tokens), expected, rtol=0, atol=1e-5
        )
        np.testing.assert_allclose(
            scores(network.rebuilt(silent), tokens), expected, rtol=0, atol=1e-5
        )
        # The fault that this is for: another structure does not pass.
        other = slow_log_probs(network, tokens.numpy(), random_keep(declaration, seed + 10))
        assert np.abs(other - expected).max() > 0.01


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_and_sizes_are_those_of_the_parameters(name: str) -> None:
    spec, network = NETWORKS[name], build(NETWORKS[name])
    declaration = network.declaration()
    declaration.check(network.arrays())
    held = {key: parameter.numel() for key, parameter in network.named_parameters()}
    assert axes.parameters(declaration) == sum(held.values())
    embedding, *layers, softmax = parts(declaration)
    assert (embedding.width, is_tied(declaration)) == (spec.embedding, spec.tied)
    units = [spec.width] if isinstance(spec, RhnSpec) else list(spec.units)
    assert [layer.width for layer in layers] == units
    top = units[-1]
    matrices = [key for key, parameter in network.named_parameters() if parameter.ndim == 2]
    recurrent = sum(held[key] for key in matrices if key.startswith(("layers", "highway")))
    assert (sum(layer.mult_adds for layer in layers), softmax.mult_adds) == (recurrent, top * V)
    assert (embedding.parameters, embedding.mult_adds) == (V * spec.embedding, 0)
    assert softmax.parameters == V + (0 if spec.tied else V * top)
    assert sum(part.parameters for part in (embedding, *layers, softmax)) == sum(held.values())


@pytest.mark.parametrize("name", RECURRENT)
def test_pruned_equals_its_masked_reference_with_carried_state(name: str) -> None:
    network = random_network(name)
    tokens = random_tokens(4000, 1, seed=2).flatten()
    declaration = network.declaration()
    observed = collect_activations(network, tokens)
    removal_plan = rank_components(
        network.arrays(), declaration, observed, prunable=tuple(declaration.axes), min_kept=2
    )
    pruned = prune(removal_plan, 0.5)
    rows = random_tokens()
    found, expected = (
        scores(network.rebuilt(each), rows) for each in (pruned.arrays, pruned.reference)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert axes.parameters(pruned.declaration) < 0.85 * axes.parameters(declaration)


def twinned(name: str) -> tuple[LanguageModel, dict[str, np.ndarray]]:
    """Makes unit 5 of the first recurrent axis a copy of unit 2, except for its readers."""
    network = random_network(name)
    arrays = network.arrays()
    spec = NETWORKS[name]
    if isinstance(spec, RhnSpec):
        arrays["highway.depths.0.weight"][:, 5] *= 4
        for key, array in arrays.items():
            if key.startswith("highway."):
                array[5 :: spec.width] = array[2 :: spec.width]
        if spec.tied:
            arrays["embedding.weight"][:, 5] = arrays["embedding.weight"][:, 2]
        else:
            arrays["decoder.weight"][:, 5] *= 8
        return network.rebuilt(arrays), {"units:rhn": np.setdiff1d(np.arange(spec.width), [5])}
    for part in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        gates = arrays[f"layers.0.{part}"]
        gates[5 :: spec.units[0]] = gates[2 :: spec.units[0]]
    arrays["layers.1.weight_ih_l0"][:, 5] *= 8
    return network.rebuilt(arrays), {"units:gru0": np.setdiff1d(np.arange(spec.units[0]), [5])}


@pytest.mark.parametrize("name", RECURRENT)
def test_repair_of_redundant_units_loses_nothing(name: str) -> None:
    network, keep = twinned(name)
    arrays, declaration = network.arrays(), network.declaration()
    tokens = random_tokens(2000, 1, seed=2).flatten()
    small, _ = axes.select_components(
        repair(arrays, declaration, keep, collect_activations(network, tokens).moments),
        declaration,
        keep,
    )
    plain, _ = axes.select_components(arrays, declaration, keep)
    rows = tokens[:90].view(9, 10)
    whole = scores(network, rows)
    zeroed = np.abs(scores(network.rebuilt(plain), rows) - whole).max()
    mended = np.abs(scores(network.rebuilt(small), rows) - whole).max()
    assert zeroed > 0.2  # the fault that repair exists for
    # The ridge of 1e-3 shares the weight between the twins imperfectly: small, not zero.
    assert mended < 0.02 * zeroed


@pytest.mark.parametrize("name", RECURRENT)
def test_repair_equals_least_squares_on_what_each_site_reads(name: str) -> None:
    network, tokens = random_network(name), random_tokens(4000, 1, seed=2).flatten()
    arrays, declaration = network.arrays(), network.declaration()
    axis = next(axis for axis in declaration.axes if axis.startswith("units:"))
    keep = {axis: np.array([0, 2, 3, 6])}
    inputs, _ = network.site_inputs(tokens.view(-1, 1), network.zero_state(1))
    repaired = repair(
        arrays,
        declaration,
        keep,
        collect_activations(network, tokens, streams=1, window=4000).moments,
    )
    checked = 0
    for site in declaration.sites:
        if not declaration.reads(site, axis) or any(
            part.activation == "embedding" for part in declaration.parts(site)
        ):
            continue  # behind a tied embedding the site is offered other values than it reads here
        values = inputs[site.name].detach().flatten(0, 1).double().numpy()
        stay = np.concatenate(
            [
                part.start + keep.get(str(part.axis), np.arange(part.size))
                for part in declaration.parts(site)
            ]
        )
        design = np.concatenate([values[:, stay], np.ones((len(values), 1))], axis=1)
        before, after = (
            np.concatenate([each[r.parameter] for r in site.readers], axis=1).astype(np.float64)
            for each in (arrays, repaired)
        )
        wanted = values @ before.T + arrays[site.bias]
        solution, *_ = np.linalg.lstsq(design, wanted, rcond=None)
        best = np.square(wanted - design @ solution).mean()
        found = np.square(wanted - values[:, stay] @ after[:, stay].T - repaired[site.bias]).mean()
        assert found <= 1.005 * best + 1e-9
        checked += 1
    assert checked >= (1 if name == "rhn-depth-1" else 2)
