"""Narrow layers and the softmax in blocks, against the same model multiplied out; training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel
from isslim.compress.layers.recurrent import GruLayer, LstmLayer, RecurrentLayer
from isslim.compress.layers.regularisation import Regularisation
from isslim.compress.pruning import axes
from tests.compress.kinds.language.networks.slow import RANKED, V
from tests.compress.kinds.language.networks.test_networks import random_network, random_tokens

Arrays = dict[str, np.ndarray]


def stacked(name: str, seed: int = 0) -> StackedLanguageModel:
    network = random_network(name, seed)
    assert isinstance(network, StackedLanguageModel)
    return network


def multiplied_out(network: StackedLanguageModel) -> StackedLanguageModel:
    """The same model without ranks and blocks, by hand."""
    arrays = {name: array.astype(np.float64) for name, array in network.arrays().items()}

    def fold(narrow: str, matrix: str, bias: str) -> None:
        if f"{narrow}.weight" in arrays:
            arrays[bias] = arrays[bias] + arrays[matrix] @ arrays.pop(f"{narrow}.bias")
            arrays[matrix] = arrays[matrix] @ arrays.pop(f"{narrow}.weight")

    for index in range(len(network.spec.units)):
        for side in ("ih", "hh"):
            fold(
                f"layers.{index}.narrow_{side}",
                f"layers.{index}.weight_{side}_l0",
                f"layers.{index}.bias_{side}_l0",
            )
    fold("bottleneck", "decoder.weight", "decoder.bias")
    if "softmax.order" in arrays:
        order = arrays.pop("softmax.order").astype(int)
        rows: dict[str, list[np.ndarray]] = {"weight": [], "bias": []}
        for block in range(len(network.spec.blocks)):
            names = [f"softmax.blocks.{block}.{part}" for part in rows]
            fold(f"softmax.narrow.{block}", *names)
            for part, name in zip(rows, names, strict=True):
                rows[part].append(arrays.pop(name))
        for part, each in rows.items():
            arrays[f"decoder.{part}"] = np.concatenate(each)[np.argsort(order)]
    return network.rebuilt({name: array.astype(np.float32) for name, array in arrays.items()})


@torch.no_grad()
def logits(network: StackedLanguageModel, tokens: Tensor) -> Tensor:
    """In two runs, the state carried."""
    first, state = network(tokens[:5], network.zero_state(tokens.shape[1]))
    return torch.cat([first, network(tokens[5:], state)[0]])


@pytest.mark.parametrize("name", RANKED)
def test_it_is_the_model_with_everything_multiplied_out(name: str) -> None:
    network, tokens = stacked(name), random_tokens()
    plain = multiplied_out(network)
    bare = replace(
        network.spec, bottleneck=None, input_ranks=(), recurrent_ranks=(), blocks=(), block_ranks=()
    )
    assert plain.spec == bare
    torch.testing.assert_close(logits(network, tokens), logits(plain, tokens), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [LstmLayer, GruLayer])
@pytest.mark.parametrize("steps", [1, 40])
def test_gradients_of_a_layer_are_those_of_its_products(
    kind: type[RecurrentLayer], steps: int
) -> None:
    torch.manual_seed(0)
    # One step multiplies the input's narrow layer out where rank and input are alike, many do not.
    ranked, plain = kind(30, 8, 12, 3), kind(30, 8)
    inputs, state = (
        torch.randn(steps, 2, 30),
        tuple(torch.randn(1, 2, 8) for _ in range(kind.states)),
    )
    assert ranked.narrow_ih is not None
    assert ranked.narrow_hh is not None
    products = {
        "weight_ih_l0": (ranked.weight_ih_l0 @ ranked.narrow_ih.weight),
        "weight_hh_l0": (ranked.weight_hh_l0 @ ranked.narrow_hh.weight),
        "bias_ih_l0": ranked.bias_ih_l0 + ranked.weight_ih_l0 @ ranked.narrow_ih.bias,
        "bias_hh_l0": ranked.bias_hh_l0 + ranked.weight_hh_l0 @ ranked.narrow_hh.bias,
    }
    expected, expected_state = torch.func.functional_call(
        plain, products, (inputs, state, Regularisation())
    )
    wanted = torch.autograd.grad(expected.square().sum(), list(ranked.parameters()))
    output, after = ranked(inputs, state, Regularisation())
    found = torch.autograd.grad(output.square().sum(), list(ranked.parameters()))
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(after, expected_state, rtol=0, atol=1e-6)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert all(each.abs().max() > 0 for each in found)


@torch.no_grad()
def test_dropped_recurrent_weights_are_those_of_a() -> None:
    torch.manual_seed(0)
    layer = LstmLayer(4, 6, 0, 3)
    assert layer.narrow_hh is not None
    inputs, state = torch.zeros(1, 1, 4), (torch.ones(1, 1, 6), torch.zeros(1, 1, 6))
    seen = set()
    for seed in range(40):
        torch.manual_seed(seed)
        output, _ = layer.train()(inputs, state, Regularisation(weight_drop=0.5))
        seen.add(round(float(output[0, 0, 0]), 5))
        torch.manual_seed(seed)
        dropped = torch.nn.functional.dropout(layer.weight_hh_l0, 0.5)
        own = layer.narrow_hh(state[0])[0] @ dropped.T + layer.bias_ih_l0 + layer.bias_hh_l0
        i, _, g, o = own.chunk(4, dim=-1)
        expected = o.sigmoid() * (i.sigmoid() * g.tanh()).tanh()
        torch.testing.assert_close(output[0], expected, rtol=0, atol=1e-5)
    assert len(seen) > 10


@pytest.mark.parametrize("name", RANKED)
def test_sites_read_what_they_declare_and_narrow_layers_feed_their_readers(name: str) -> None:
    network, tokens = stacked(name), random_tokens()
    arrays, declaration = network.arrays(), network.declaration()
    declaration.check(arrays)
    with torch.no_grad():
        _, state = network(tokens[:4], network.zero_state(3))
        inputs, after = network.site_inputs(tokens[4:], state)
        expected, expected_after = network(tokens[4:], state)
    torch.testing.assert_close(after, expected_after, rtol=0, atol=1e-6)
    sites = {site.name: site for site in declaration.sites}
    assert inputs.keys() == sites.keys()
    for site_name, site in sites.items():
        width = sum(part.size for part in declaration.parts(site))
        assert inputs[site_name].shape == (5, 3, width)
    made = {
        key: inputs[key].numpy()
        @ np.concatenate([arrays[reader.parameter] for reader in site.readers], axis=1).T
        + arrays[str(site.bias)]
        for key, site in sites.items()
    }
    order = [site.name for site in declaration.sites]
    for place in declaration.narrow:
        parts = declaration.parts(sites[place.site])
        (part,) = (part for part in parts if part.activation == place.axis)
        assert (part.reader, part.axis) == (place.reader, place.axis)
        read = inputs[place.site][..., part.inputs].numpy()
        np.testing.assert_allclose(read, made[place.name], rtol=0, atol=1e-5)
        assert order.index(place.name) < order.index(place.site)
    assert [place.name for place in declaration.narrow] == [
        each for each in order if each in {place.name for place in declaration.narrow}
    ]
    if "decoder" in made:
        found = made["decoder"]
    else:
        rows = np.concatenate([made[f"decoder.{b}"] for b in range(len(network.spec.blocks))], -1)
        found = np.empty_like(rows)
        found[..., arrays["softmax.order"].astype(int)] = rows
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", RANKED)
def test_preactivations_of_the_layers_give_the_next_outputs(name: str) -> None:
    network, tokens = stacked(name), random_tokens()
    arrays, sites = network.arrays(), {site.name: site for site in network.declaration().sites}
    with torch.no_grad():
        inputs, after = network.site_inputs(tokens, network.zero_state(3))

    def made(site: str) -> np.ndarray:
        matrices = [arrays[reader.parameter] for reader in sites[site].readers]
        result: np.ndarray = (
            inputs[site].numpy() @ np.concatenate(matrices, axis=1).T
            + arrays[str(sites[site].bias)]
        )
        return result

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    for index, units in enumerate(network.spec.units):
        h = c = np.zeros((3, units))
        for step in range(len(tokens)):
            if network.cell == "lstm":
                gates = made(f"layers.{index}")[step] + arrays[f"layers.{index}.bias_hh_l0"]
                i, f, g, o = np.split(gates, 4, axis=-1)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            else:
                into, back = (
                    made(f"layers.{index}.{part}")[step] for part in ("input", "recurrent")
                )
                (ri, zi, ni), (rh, zh, nh) = np.split(into, 3, -1), np.split(back, 3, -1)
                z = sigmoid(zi + zh)
                h = (1 - z) * np.tanh(ni + sigmoid(ri + rh) * nh) + z * h
        np.testing.assert_allclose(after[index][0][0].numpy(), h, rtol=0, atol=1e-5)


def test_axes_sites_and_places_have_the_agreed_names() -> None:
    network = LstmLanguageModel(RANKED["lstm-blocks"])  # type: ignore[arg-type]
    declaration = network.declaration()
    assert declaration.axes == {
        "embedding": 6,
        "units:lstm0": 9,
        "units:lstm1": 7,
        "rank:lstm1.recurrent": 4,
        "rank:softmax0": 5,
        "rank:softmax1": 3,
    }
    assert [site.name for site in declaration.sites] == [
        "layers.0",
        "layers.1.narrow_hh",
        "layers.1",
        "decoder.0.narrow",
        "decoder.0",
        "decoder.1.narrow",
        "decoder.1",
        "decoder.2",
    ]
    assert declaration.indices == {"softmax.order"}
    assert axes.parameters(declaration) == sum(each.numel() for each in network.parameters())
    assert [(place.axis, place.site, place.reader) for place in network.narrow_places()] == [
        ("rank:lstm0.recurrent", "layers.0", 1),
        ("rank:lstm1.input", "layers.1", 0),
    ]
    gru = GruLanguageModel(GruSpec(V, 6, (9, 7), input_ranks=(4, 0)))
    assert [site.name for site in gru.declaration().sites[:3]] == [
        "layers.0.narrow_ih",
        "layers.0.input",
        "layers.0.recurrent",
    ]
    assert [(place.name, place.site, place.reader) for place in gru.narrow_places()] == [
        ("layers.0.narrow_hh", "layers.0.recurrent", 0),
        ("layers.1.narrow_ih", "layers.1.input", 0),
        ("layers.1.narrow_hh", "layers.1.recurrent", 0),
    ]


def test_a_tied_model_takes_a_rank_before_its_first_layer_too() -> None:
    tied = LstmLanguageModel(LstmSpec(V, 9, (9,), tied=True))
    assert [place.axis for place in tied.narrow_places()] == [
        "rank:lstm0.input",
        "rank:lstm0.recurrent",
    ]
    # Untied, the embedding's width is the rank of what the first layer reads.
    untied = LstmLanguageModel(LstmSpec(V, 6, (9,), bottleneck=3))
    assert [place.axis for place in untied.narrow_places()] == ["rank:lstm0.recurrent"]


def test_sizes_without_ranks_are_the_same_however_they_are_written() -> None:
    bare = LstmSpec(V, 6, (9, 7))
    assert LstmSpec(V, 6, (9, 7), input_ranks=(0, 0), recurrent_ranks=(0, 0)) == bare
    assert replace(bare, blocks=(30, 1), block_ranks=(0, 0)).block_ranks == ()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"input_ranks": (3,)}, r"'input_ranks' is \[3\]: one number for each layer .* 2 of them"),
        ({"recurrent_ranks": (3, -1)}, r"'recurrent_ranks' is \[3, -1\]: one number"),
        ({"blocks": (30, 1), "block_ranks": (3,)}, "one number for each block of the softmax"),
        ({"block_ranks": (3,)}, "'block_ranks' is .* 0 of them"),
        ({"blocks": (30, 2)}, "'blocks' is .* whose sum is the vocabulary, 31"),
        ({"blocks": (31, 0)}, "sizes of at least 1"),
        ({"blocks": (30, 1), "bottleneck": 3}, "a bottleneck or a softmax in blocks, not both"),
        ({"blocks": (30, 1), "tied": True}, "a tied model has no softmax in blocks"),
        ({"bottleneck": 3, "tied": True}, "a tied model has no bottleneck"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        LstmSpec(V, 7, (9, 7), **options)  # type: ignore[arg-type]


def test_an_order_that_is_none_is_refused() -> None:
    network = stacked("lstm-blocks")
    arrays = network.arrays()
    arrays["softmax.order"][0] = arrays["softmax.order"][1]
    with pytest.raises(ValueError, match=r"'softmax\.order' is not an order of the 31 tokens"):
        network.rebuilt(arrays)


@pytest.mark.parametrize("name", RANKED)
def test_a_few_steps_of_training_lower_the_loss_and_move_every_weight(name: str) -> None:
    network = stacked(name).train()
    tokens = (torch.arange(20)[:, None] + 4 * torch.arange(8)) % V  # each is the one before plus 1
    before = {key: each.detach().clone() for key, each in network.tensors().items()}
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(20):
        found, _ = network(tokens[:-1], network.zero_state(8))
        loss = torch.nn.functional.cross_entropy(found.flatten(0, 1), tokens[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    for key, each in network.tensors().items():
        assert torch.equal(each, before[key]) is (key == "softmax.order")
