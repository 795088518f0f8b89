"""The named-axes algebra against networks masked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from isslim.compress.kinds.language.networks.lstm import (
    LstmLanguageModel,
    LstmSpec,
    declare,
    from_arrays,
)
from isslim.compress.pruning import axes

SPECS = [
    LstmSpec(23, 6, (8, 5)),
    LstmSpec(23, 7, (9, 7), tied=True),
    LstmSpec(11, 4, (3,)),
    LstmSpec(17, 5, (6, 7, 8)),
]


def random_network(spec: LstmSpec, seed: int = 0) -> LstmLanguageModel:
    torch.manual_seed(seed)
    network = LstmLanguageModel(spec).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.6, 0.6)
    return network


def random_keep(declaration: axes.NetworkAxes, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        axis: np.sort(generator.choice(size, max(1, size // 2), replace=False))
        for axis, size in declaration.axes.items()
    }


@torch.no_grad()
def scores(network: LstmLanguageModel, tokens: torch.Tensor) -> np.ndarray:
    state = network.zero_state(tokens.shape[1])
    first, state = network(tokens[:5], state)
    second, _ = network(tokens[5:], state)
    return torch.cat([first, second]).log_softmax(-1).numpy()


@torch.no_grad()
def held_at_zero(
    network: LstmLanguageModel, keep: dict[str, np.ndarray], tokens: torch.Tensor
) -> np.ndarray:
    """Slow reference: the full network step by step, removed components multiplied by zero."""

    def mask(axis: str, size: int) -> torch.Tensor:
        result = torch.zeros(size)
        result[torch.from_numpy(keep[axis]) if axis in keep else slice(None)] = 1
        return result

    spec = network.spec
    wide = f"units:lstm{len(spec.units) - 1}" if spec.tied else "embedding"
    hidden = [torch.zeros(tokens.shape[1], units) for units in spec.units]
    cell = [torch.zeros(tokens.shape[1], units) for units in spec.units]
    result = []
    for row in tokens:
        below = network.embedding.weight[row] * mask(wide, spec.embedding)
        for index, layer in enumerate(network.layers):
            gates = below @ layer.weight_ih_l0.T + hidden[index] @ layer.weight_hh_l0.T
            i, f, g, o = (gates + layer.bias_ih_l0 + layer.bias_hh_l0).chunk(4, dim=1)
            cell[index] = f.sigmoid() * cell[index] + i.sigmoid() * g.tanh()
            hidden[index] = (
                o.sigmoid() * cell[index].tanh() * mask(f"units:lstm{index}", spec.units[index])
            )
            below = hidden[index]
        result.append(below @ network.decoder.weight.T + network.decoder.bias)
    return torch.stack(result).log_softmax(-1).numpy()


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_taken_network_equals_full_network_with_removed_units_held_at_zero(spec: LstmSpec) -> None:
    network, declaration = random_network(spec), declare(spec)
    tokens = torch.randint(spec.vocabulary, (9, 3), generator=torch.Generator().manual_seed(1))
    for seed in range(3):
        keep = random_keep(declaration, seed)
        small, _ = axes.select_components(network.arrays(), declaration, keep)
        found = scores(from_arrays(small, tied=spec.tied), tokens)
        np.testing.assert_allclose(found, held_at_zero(network, keep, tokens), rtol=0, atol=1e-5)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_masked_network_equals_taken_network(spec: LstmSpec) -> None:
    network, declaration = random_network(spec), declare(spec)
    tokens = torch.randint(spec.vocabulary, (9, 3), generator=torch.Generator().manual_seed(1))
    keep = random_keep(declaration, 4)
    small, _ = axes.select_components(network.arrays(), declaration, keep)
    silent = axes.mask_components(network.arrays(), declaration, keep)
    np.testing.assert_allclose(
        scores(from_arrays(small, tied=spec.tied), tokens),
        scores(from_arrays(silent, tied=spec.tied), tokens),
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_counts_equal_what_torch_holds(spec: LstmSpec) -> None:
    declaration = declare(spec)
    assert axes.parameters(declaration) == sum(
        p.numel() for p in LstmLanguageModel(spec).parameters()
    )
    widths = (spec.embedding, *spec.units)
    expected = sum(4 * h * (i + h) for i, h in zip(widths, spec.units, strict=False))
    assert axes.mult_adds(declaration) == expected + spec.units[-1] * spec.vocabulary


def test_paper_sizes_give_the_papers_multiply_adds() -> None:
    # PAPER section 4.1: 51.0M -> 6.81M multiply-adds, 66.0M -> 21.8M weights.
    big, small = (
        declare(LstmSpec(10_000, 1500, (1500, 1500))),
        declare(LstmSpec(10_000, 1500, (373, 315))),
    )
    assert axes.mult_adds(big) == pytest.approx(51.0e6, rel=1e-3)
    assert axes.mult_adds(small) == pytest.approx(6.81e6, rel=1e-3)
    assert axes.parameters(small) == pytest.approx(21.8e6, rel=2e-3)


def test_energy_is_the_squared_norm_of_every_slice() -> None:
    spec = SPECS[1]
    network, declaration = random_network(spec), declare(spec)
    arrays = network.arrays()
    everything = declaration.all_components()["units:lstm1"]
    for unit, found in enumerate(axes.group_squared_norms(arrays, declaration, "units:lstm1")):
        silent = axes.mask_components(
            arrays, declaration, {"units:lstm1": np.setdiff1d(everything, [unit])}
        )
        # The four gate rows cross the unit's own recurrent column: those entries stand in two
        # slices.
        crossing = arrays["layers.1.weight_hh_l0"][unit :: spec.units[1], unit]
        lost = sum((arrays[name] ** 2).sum() - (silent[name] ** 2).sum() for name in arrays)
        assert found == pytest.approx(lost + (crossing**2).sum(), rel=1e-5)


def test_wrong_declaration_is_refused_with_every_issue() -> None:
    network = random_network(SPECS[0])
    arrays = network.arrays()
    arrays["extra"] = arrays.pop("decoder.bias")
    with pytest.raises(axes.AxisMismatch) as refused:
        declare(LstmSpec(23, 6, (8, 4))).check(arrays)
    issues = refused.value.issues
    assert "'extra' is not declared" in issues
    assert "'decoder.bias' is declared but absent" in issues
    assert any("layers.1.weight_hh_l0" in issue for issue in issues)


def test_inputs_are_never_changed() -> None:
    network, declaration = random_network(SPECS[0]), declare(SPECS[0])
    arrays = network.arrays()
    before = {name: array.copy() for name, array in arrays.items()}
    axes.select_components(arrays, declaration, random_keep(declaration, 0))
    axes.mask_components(arrays, declaration, random_keep(declaration, 0))
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_what_was_taken_out_can_be_put_back_as_zeros(spec: LstmSpec) -> None:
    network, declaration = random_network(spec), declare(spec)
    keep = random_keep(declaration, 1)
    small, _ = axes.select_components(network.arrays(), declaration, keep)
    full = axes.scatter_components(small, declaration, keep)
    expected = axes.mask_components(network.arrays(), declaration, keep)
    assert full.keys() == expected.keys()
    assert all(np.array_equal(full[name], expected[name]) for name in full)
