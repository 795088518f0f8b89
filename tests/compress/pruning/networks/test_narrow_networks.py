"""A narrow layer before the decoder: exact until it is cut, equal to its reference, worth it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from isslim.compress.errors import UnknownArchitecture
from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.language.activations import collect_activations
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.ingest.layouts import read_model
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec
from isslim.compress.kinds.language.verification import verify_graph
from isslim.compress.pruning import axes, narrow
from isslim.compress.pruning.narrow import BOTTLENECK, may_narrow_softmax
from isslim.compress.pruning.ranking import cut, prune, rank_components
from isslim.compress.pruning.rotation import linear_axes, rotate, rotated_moments
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.scoring import perplexity
from isslim.runtime.language.session import LanguageSession
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.recipe import Budget, Recipe
from tests.conftest import WORDS, Trained, compress_in, train_small

V = 120
PLAIN: dict[str, LanguageModel] = {
    "lstm": LstmLanguageModel(LstmSpec(V, 6, (10, 9))),
    "gru": GruLanguageModel(GruSpec(V, 6, (10, 9))),
}
NARROW: dict[str, LanguageModel] = {
    "lstm": LstmLanguageModel(LstmSpec(V, 6, (10, 9), bottleneck=4)),
    "gru": GruLanguageModel(GruSpec(V, 6, (10, 9), bottleneck=4)),
}
TOKENS = torch.randint(V, (3000,), generator=torch.Generator().manual_seed(2))


def drawn(network: LanguageModel, seed: int = 3) -> LanguageModel:
    network.initialise(0.6, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "bias" in name:
                parameter.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(seed + 1))
    return network.eval()


def low_rank(rank: int = 4, noise: float = 0.02) -> LanguageModel:
    """An LSTM whose decoder is nearly of a low rank."""
    network = drawn(LstmLanguageModel(LstmSpec(V, 8, (20, 20))))
    generator = np.random.default_rng(5)
    arrays = network.arrays()
    product = generator.normal(size=(V, rank)) @ generator.normal(size=(rank, 20))
    arrays["decoder.weight"] = (product + noise * generator.normal(size=(V, 20))).astype(np.float32)
    return network.rebuilt(arrays)


@torch.no_grad()
def logits(network: LanguageModel) -> NDArray[np.float32]:
    """Over three runs with carried state."""
    rows, state, found = TOKENS[:180].view(60, 3), network.zero_state(3), []
    for start in range(0, 60, 20):
        each, state = network(rows[start : start + 20], state)
        found.append(each)
    return torch.cat(found).numpy()


@pytest.mark.parametrize("name", NARROW)
def test_logits_are_those_of_both_matrices_by_hand(name: str) -> None:
    network = drawn(NARROW[name])
    arrays, tokens = network.arrays(), TOKENS[:40].view(10, 4)
    inputs, _ = network.site_inputs(tokens, network.zero_state(4))
    between = np.einsum(
        "tbh,kh->tbk", inputs["bottleneck"].detach().numpy(), arrays["bottleneck.weight"]
    )
    between += arrays["bottleneck.bias"]
    np.testing.assert_allclose(inputs["decoder"].detach().numpy(), between, rtol=0, atol=1e-6)
    expected = np.einsum("tbk,vk->tbv", between, arrays["decoder.weight"]) + arrays["decoder.bias"]
    with torch.no_grad():
        found, _ = network(tokens, network.zero_state(4))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-5)
    network.declaration().check(arrays)
    assert network.declaration().axes["bottleneck"] == 4


@pytest.mark.parametrize("name", PLAIN)
def test_put_in_and_multiplied_back_the_function_stays(name: str) -> None:
    network = drawn(PLAIN[name])
    arrays, declaration = narrow.insert(network.arrays(), network.declaration(), BOTTLENECK)
    assert declaration == network.rebuilt(arrays).declaration()
    np.testing.assert_allclose(logits(network.rebuilt(arrays)), logits(network), rtol=0, atol=1e-6)
    given = drawn(NARROW[name])
    plain, folded = narrow.fold(given.arrays(), given.declaration(), BOTTLENECK)
    assert folded == network.declaration() == given.rebuilt(plain).declaration()
    np.testing.assert_allclose(logits(given.rebuilt(plain)), logits(given), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NARROW)
def test_its_basis_is_free(name: str) -> None:
    network = drawn(NARROW[name])
    declaration = network.declaration()
    assert linear_axes(declaration) == ["embedding", "bottleneck"]
    basis, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))
    turned = network.rebuilt(rotate(network.arrays(), declaration, "bottleneck", basis))
    assert not np.allclose(
        turned.arrays()["bottleneck.bias"], network.arrays()["bottleneck.bias"], atol=0.01
    )
    np.testing.assert_allclose(logits(turned), logits(network), rtol=0, atol=1e-5)
    found = rotated_moments(
        collect_activations(network, TOKENS).moments, declaration, "bottleneck", basis
    )
    for site, expected in collect_activations(turned, TOKENS).moments.items():
        np.testing.assert_allclose(found[site].mean, expected.mean, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found[site].second, expected.second, rtol=0, atol=1e-5)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.85])
@pytest.mark.parametrize("name", PLAIN)
def test_a_cut_equals_its_reference_and_is_counted_right(name: str, share: float) -> None:
    network = drawn(PLAIN[name])
    observed, prunable = collect_activations(network, TOKENS), list(network.declaration().axes)
    removal_plan = rank_components(
        network.arrays(),
        network.declaration(),
        observed,
        prunable=prunable,
        narrow=[BOTTLENECK],
    )
    assert removal_plan.whole == network.declaration()
    np.testing.assert_allclose(
        logits(network.rebuilt(removal_plan.arrays)), logits(network), rtol=0, atol=1e-5
    )
    pruned = prune(removal_plan, share)
    small, reference = network.rebuilt(pruned.arrays), network.rebuilt(pruned.reference)
    np.testing.assert_allclose(logits(small), logits(reference), rtol=0, atol=1e-5)
    assert small.declaration() == pruned.declaration
    assert {axis: len(index) for axis, index in pruned.keep.items()} == dict(
        pruned.declaration.axes
    )
    assert (
        axes.scatter_components(pruned.arrays, reference.declaration(), pruned.keep).keys()
        == pruned.reference.keys()
    )
    if pruned.declaration.narrow:
        assert narrow.pays(pruned.declaration, BOTTLENECK)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PLAIN)
def test_ranks_and_blocks_everywhere_equal_their_reference(name: str, seed: int) -> None:
    network = drawn(PLAIN[name])
    plan = rank_components(
        network.arrays(),
        network.declaration(),
        collect_activations(network, TOKENS),
        prunable=list(network.declaration().axes),
        narrow=network.narrow_places(),
        blocks=(20, 100),
        min_kept=1,
    )
    np.testing.assert_allclose(
        logits(network.rebuilt(plan.arrays)), logits(network), rtol=0, atol=2e-5
    )
    generator = np.random.default_rng(seed)
    keep = {
        axis: np.sort(generator.choice(size, generator.integers(3, size), replace=False))
        for axis, size in plan.declaration.axes.items()
    }
    # All stay, whether they pay or not.
    plan = replace(plan, cost=lambda declaration: -float(len(declaration.narrow)))
    pruned = cut(plan, keep)
    assert len(pruned.declaration.narrow) == 5
    small, reference = network.rebuilt(pruned.arrays), network.rebuilt(pruned.reference)
    np.testing.assert_allclose(logits(small), logits(reference), rtol=0, atol=1e-5)
    assert small.declaration() == pruned.declaration
    whole = narrow.declared_like(network.declaration(), pruned.declaration)
    assert reference.declaration() == whole
    # What was removed can be put back as zeros.
    back = axes.scatter_components(small.arrays(), whole, pruned.keep)
    np.testing.assert_allclose(logits(network.rebuilt(back)), logits(small), rtol=0, atol=1e-5)


def test_a_little_cut_leaves_no_bottleneck_and_a_deep_one_does() -> None:
    network = low_rank()
    removal_plan = rank_components(
        network.arrays(),
        network.declaration(),
        collect_activations(network, TOKENS),
        prunable=["embedding"],
        narrow=[BOTTLENECK],
    )
    # Of the embedding and the bottleneck alone.
    assert "bottleneck" not in prune(removal_plan, 0.05).declaration.axes
    assert prune(removal_plan, 0.8).declaration.axes["bottleneck"] <= 6


def test_a_decoder_of_low_rank_is_found_and_costs_less_than_units_do() -> None:
    network = low_rank()
    observed, whole = collect_activations(network, TOKENS), network.declaration()
    expected = logits(network)

    def error(narrowed: bool, share: float) -> tuple[float, int, axes.NetworkAxes]:
        removal_plan = rank_components(
            network.arrays(),
            whole,
            observed,
            prunable=list(whole.axes),
            narrow=[BOTTLENECK] if narrowed else [],
        )
        mild, bold = 0.0, 1.0
        for _ in range(20):
            middle = (mild + bold) / 2
            fits = axes.mult_adds(
                prune(removal_plan, middle).declaration
            ) <= share * axes.mult_adds(whole)
            mild, bold = (mild, middle) if fits else (middle, bold)
        pruned = prune(removal_plan, bold)
        off = float(
            np.square(logits(network.rebuilt(pruned.arrays)) - expected).mean() / expected.var()
        )
        return off, axes.mult_adds(pruned.declaration), pruned.declaration

    ours, work, declaration = error(True, 0.75)
    theirs, most, _ = error(False, 0.75)
    assert 3 <= declaration.axes["bottleneck"] <= 6
    assert work <= 0.75 * axes.mult_adds(whole)
    assert most <= 0.75 * axes.mult_adds(whole)
    assert ours < 0.3 * theirs


def test_rows_weigh_as_often_as_their_tokens_stand_in_the_text() -> None:
    given = drawn(NARROW["lstm"])
    arrays, declaration = given.arrays(), given.declaration()
    frequencies = np.random.default_rng(0).integers(0, 50, V).astype(np.float64)
    sites = {site.name: site for site in declaration.sites}
    decoder, below = (
        arrays["decoder.weight"].astype(np.float64),
        arrays["bottleneck.weight"].astype(np.float64),
    )
    for site, matrix, through in (("decoder", decoder, np.eye(4)), ("bottleneck", below, below)):
        felt = narrow.sensitivity(matrix, sites[site], arrays, declaration, frequencies)
        expected: NDArray[np.float64] = np.zeros((matrix.shape[1], matrix.shape[1]))
        for row, count in zip(decoder, frequencies, strict=True):
            seen = row @ through
            expected += (count + 1) * np.outer(seen, seen)
        np.testing.assert_allclose(felt.T @ felt, expected, rtol=1e-9)
    gates = arrays["layers.1.weight_ih_l0"].astype(np.float64)
    np.testing.assert_array_equal(
        narrow.sensitivity(gates, sites["layers.1"], arrays, declaration, frequencies), gates
    )


def test_frequencies_are_counts_of_the_observed_text() -> None:
    frequencies = collect_activations(drawn(PLAIN["lstm"]), TOKENS).frequencies
    assert frequencies is not None
    np.testing.assert_array_equal(frequencies, [TOKENS.tolist().count(each) for each in range(V)])


def test_where_it_does_not_fit() -> None:
    tied = LstmLanguageModel(LstmSpec(V, 9, (10, 9), tied=True))
    few = LstmLanguageModel(LstmSpec(30, 6, (10, 9)))
    assert may_narrow_softmax(PLAIN["lstm"].declaration())
    assert not any(may_narrow_softmax(each.declaration()) for each in (tied, few, NARROW["lstm"]))
    with pytest.raises(ValueError, match="a tied model has no bottleneck"):
        LstmLanguageModel(LstmSpec(V, 9, (10, 9), tied=True, bottleneck=4))
    highway = RhnLanguageModel(RhnSpec(V, 9, 9, 2, tied=True))
    assert not may_narrow_softmax(highway.declaration())


@pytest.mark.parametrize("name", NARROW)
def test_the_graph_says_what_torch_says(name: str, tmp_path: Path) -> None:
    network = drawn(NARROW[name])
    export(network, tmp_path / "narrow.onnx")
    check = verify_graph(LanguageSession(tmp_path / "narrow.onnx"), network, TOKENS, "narrow")
    assert check.error < 1e-5
    assert "softmax" in quantize(tmp_path / "narrow.onnx", tmp_path / "int8.onnx").parts
    exact, rough = (LanguageSession(tmp_path / f"{each}.onnx") for each in ("narrow", "int8"))
    text = TOKENS[:400].tolist()
    assert perplexity(rough, text, 0) == pytest.approx(perplexity(exact, text, 0), rel=0.01)


def test_a_checkpoint_with_one_is_read(tmp_path: Path) -> None:
    network = drawn(NARROW["gru"])
    save_file(network.arrays(), tmp_path / "model.safetensors")
    found = read_model(tmp_path / "model.safetensors", None)
    assert "a bottleneck before the decoder" in found.layout
    np.testing.assert_array_equal(logits(found.network), logits(network))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bottleneck.bias": None}, r"a bottleneck has bottleneck.weight \(K, 9\)"),
        ({"bottleneck.weight": np.zeros((4, 8), np.float32)}, "not bottleneck.weight"),
        (
            {"decoder.weight": np.zeros((V, 5), np.float32)},
            r"'decoder.weight' is \(120, 5\), and the top layer gives 4 values",
        ),
    ],
)
def test_a_bottleneck_that_does_not_fit_is_told(
    change: dict[str, NDArray[np.float32] | None], told: str, tmp_path: Path
) -> None:
    arrays = {
        name: array
        for name, array in (NARROW["lstm"].arrays() | change).items()
        if array is not None
    }
    save_file(arrays, tmp_path / "model.safetensors")
    with pytest.raises(UnknownArchitecture, match=told):
        read_model(tmp_path / "model.safetensors", None)


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A trained language model whose decoder is of rank 3, uploaded as one matrix."""
    folder = tmp_path_factory.mktemp("shallow")
    given = LstmLanguageModel(LstmSpec(len(WORDS), 8, (16, 6), bottleneck=3), dropout=0.1)
    found = train_small(given, folder, {}).network
    plain, _ = narrow.fold(found.arrays(), found.declaration(), BOTTLENECK)
    torch.save(
        {name: torch.from_numpy(array) for name, array in plain.items()}, folder / "model.pt"
    )
    return Trained(found.rebuilt(plain), folder)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["calibrate", "learn"])
def test_it_goes_the_whole_way_from_upload_to_answers(
    mode: Literal["calibrate", "rank_components"], shallow: Trained, tmp_path: Path
) -> None:
    recipe = Recipe(
        name="shallow", mode=mode, budget=Budget(size_ratio=0.6), learn_epochs=1.0, ranks=False
    )
    bundle = BundleStore(StoreSettings(home=tmp_path)).open(compress_in(tmp_path, shallow, recipe))
    original, compressed = bundle.manifest.variants[0], bundle.manifest.variant("compressed")
    assert compressed is not None
    assert 3 <= compressed.sizes["bottleneck"] < 5
    assert "bottleneck" not in original.sizes
    assert [part.name for part in compressed.parts][-2:] == ["bottleneck", "softmax"]
    assert compressed.parameters <= 0.6 * original.parameters
    assert all(check.error <= check.tolerance for check in bundle.manifest.checks)
    model = LoadedLanguageModel(bundle)
    ids = model.codec.encode(shallow.held_out.read_text())
    found = perplexity(model.session("compressed"), ids, model.codec.start_id)
    assert found == pytest.approx(compressed.metrics["perplexity"], rel=1e-6)
    assert "bottleneck" in bundle.path("README.md").read_text()
    wide = recipe.model_copy(update={"narrow_softmax": False, "name": "wide"})
    other = BundleStore(StoreSettings(home=tmp_path / "wide")).open(
        compress_in(tmp_path / "wide", shallow, wide)
    )
    plain = other.manifest.variant("compressed")
    assert plain is not None
    assert "bottleneck" not in plain.sizes
