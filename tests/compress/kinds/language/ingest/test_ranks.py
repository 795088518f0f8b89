"""This project's narrow layers and blocks as uploads, and torch's projections read as such."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import isslim.torch
from isslim.compress.errors import UnknownArchitecture
from isslim.compress.kinds.language.ingest.layouts import Ingested, read_model
from isslim.compress.kinds.language.networks.lstm import LstmSpec
from isslim.compress.training.saved_network import (
    COMPRESSED,
    WeightsRefused,
    save_network,
    save_tensors,
    spec_of,
)
from tests.compress.kinds.language.networks.slow import RANKED, V
from tests.compress.kinds.language.networks.test_networks import random_network, random_tokens

Arrays = dict[str, np.ndarray]
E, H, P = 6, 9, 4


@torch.no_grad()
def logits(network: nn.Module, tokens: Tensor) -> Tensor:
    """In two runs, the state carried."""
    first, state = network(tokens[:5], network.zero_state(3))  # type: ignore[operator]
    result: Tensor = torch.cat([first, network(tokens[5:], state)[0]])
    return result


@pytest.mark.parametrize("name", RANKED)
def test_what_was_saved_is_loaded_and_is_an_upload_as_it_is(name: str, tmp_path: Path) -> None:
    network, tokens = random_network(name), random_tokens()
    save_network(tmp_path, network)
    loaded = isslim.torch.load(tmp_path)
    read = read_model(tmp_path / COMPRESSED.weights, tmp_path / COMPRESSED.spec)
    assert read.network.spec == network.spec
    for found in (loaded, read.network):
        assert found.state_dict().keys() == network.state_dict().keys()
        for key, value in network.state_dict().items():
            assert torch.equal(found.state_dict()[key], value)
        assert torch.equal(logits(found, tokens), logits(network, tokens))
    torch.save(network.state_dict(), tmp_path / "model.pt")  # its order as whole numbers
    again = read_model(tmp_path / "model.pt", None)
    assert again.network.spec == network.spec
    assert torch.equal(logits(again.network, tokens), logits(network, tokens))


def test_the_line_names_ranks_and_blocks(tmp_path: Path) -> None:
    save_network(tmp_path, random_network("lstm-blocks"))
    found = read_model(tmp_path / COMPRESSED.weights, None)
    assert found.layout.startswith(
        "this project's own layout: 2 LSTM layers of 9 and 7 units, narrow layers of 4 (recurrence "
        "of LSTM layer 2), 5 (softmax block 1), 3 (softmax block 2), softmax in blocks of 5, 12, "
        "14, untied"
    )
    (obstacle,) = found.form.obstacles
    assert "narrow layers or blocks are of this package's own classes" in obstacle


def test_sizes_without_ranks_are_written_as_ever() -> None:
    assert spec_of(random_network("lstm")).spec == {
        "vocabulary": V, "embedding": 6, "units": (9, 7), "tied": False, "bottleneck": None,
    }  # fmt: skip
    assert spec_of(random_network("gru-ranks")).spec["input_ranks"] == (4, 0)


def scrambled(arrays: Arrays) -> None:
    arrays["softmax.order"][0] = arrays["softmax.order"][1]


def without(name: str) -> Callable[[Arrays], object]:
    return lambda arrays: arrays.pop(name)


def with_zeros(name: str, *shape: int) -> Callable[[Arrays], object]:
    return lambda arrays: arrays.update({name: np.zeros(shape, np.float32)})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (scrambled, r"'softmax.order' is not an order of the 31 tokens"),
        (without("softmax.order"), r"decoder.weight is missing"),
        (without("embedding.weight"), "'embedding.weight' is missing"),
        (without("layers.0.weight_hh_l0"), "'layers.0.weight_hh_l0' is missing"),
        (without("layers.1.weight_hh_l0"), "'layers.1.weight_ih_l0' is not declared"),
        (without("layers.1.narrow_hh.bias"), "'layers.1.narrow_hh.bias' is declared but absent"),
        (without("softmax.blocks.1.weight"), r"'blocks' is \[5\]: .* whose sum is the vocabulary"),
        (with_zeros("decoder.bias", V), "'decoder.bias' is not declared"),
        (with_zeros("layers.0.weight_hh_l0", 28, 9), "layers.0 is neither LSTM nor GRU"),
        (
            with_zeros("softmax.narrow.1.weight", 3, 8),
            r"'softmax.narrow.1.weight' has shape \(3, 8\), declared \(3, 7\)",
        ),
    ],
)
def test_what_does_not_fit_is_told(
    change: Callable[[Arrays], object], told: str, tmp_path: Path
) -> None:
    arrays = random_network("lstm-blocks").arrays()
    change(arrays)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    save_tensors(tmp_path / "model.safetensors", tensors, {})
    with pytest.raises(UnknownArchitecture, match=f"names of narrow layers, and .*{told}"):
        read_model(tmp_path / "model.safetensors", None)


def test_blocks_that_the_config_calls_tied_are_refused(tmp_path: Path) -> None:
    save_network(tmp_path, random_network("gru-blocks"))
    (tmp_path / "config.json").write_text('{"tied": true}')
    with pytest.raises(UnknownArchitecture, match="tied, but the decoder is in blocks"):
        read_model(tmp_path / COMPRESSED.weights, tmp_path / "config.json")


def test_a_damaged_order_is_refused_where_weights_are_loaded(tmp_path: Path) -> None:
    network = random_network("lstm-blocks")
    save_network(tmp_path, network)
    arrays = network.arrays()
    scrambled(arrays)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    save_tensors(tmp_path / COMPRESSED.weights, tensors, {})
    with pytest.raises(WeightsRefused, match=r"is damaged: 'softmax.order' is not an order"):
        isslim.torch.load(tmp_path)
    save_tensors(tmp_path / COMPRESSED.weights, tensors | {"softmax.order": torch.zeros(3)}, {})
    with pytest.raises(WeightsRefused, match=r"'softmax.order' is \(3,\), and \(31,\) is expected"):
        isslim.torch.load(tmp_path)


class Projected(nn.Module):
    """A language model of torch's LSTM with a projection."""

    def __init__(self, layers: int, *, tied: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.encoder = nn.Embedding(V, P if tied else E)
        self.rnn = nn.LSTM(P if tied else E, H, layers, proj_size=P, bias=bias)
        self.decoder = nn.Linear(P, V)
        if tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.decoder(self.rnn(self.encoder(tokens))[0])
        return result


def read_back(model: nn.Module, tmp_path: Path) -> Ingested:
    torch.save(model.state_dict(), tmp_path / "model.pt")
    return read_model(tmp_path / "model.pt", None)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(
    ("layers", "tied", "bias"),
    [(1, False, True), (2, False, True), (3, True, True), (2, False, False)],
)
def test_a_projection_is_a_narrow_layer_before_each_of_its_readers(
    layers: int, tied: bool, bias: bool, tmp_path: Path
) -> None:
    torch.manual_seed(layers)
    model, tokens = Projected(layers, tied=tied, bias=bias), random_tokens()
    with torch.no_grad():
        expected = model(tokens)
    found = read_back(model, tmp_path)
    assert found.network.spec == LstmSpec(
        V,
        P if tied else E,
        (H,) * layers,
        bottleneck=P,
        input_ranks=(0, *[P] * (layers - 1)),
        recurrent_ranks=(P,) * layers,
    )
    torch.testing.assert_close(logits(found.network, tokens), expected, rtol=0, atol=1e-5)
    arrays, projections = found.network.arrays(), model.state_dict()
    for index in range(layers):
        projection = projections[f"rnn.weight_hr_l{index}"].numpy()
        above = f"layers.{index + 1}.narrow_ih" if index < layers - 1 else "bottleneck"
        for name in (f"layers.{index}.narrow_hh", above):
            np.testing.assert_array_equal(arrays[f"{name}.weight"], projection)
            np.testing.assert_array_equal(arrays[f"{name}.bias"], 0)
    assert "projection read as narrow layers, a copy for each reader" in found.layout
    assert any("has a projection" in each for each in found.form.obstacles)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_bottleneck_above_a_projection_takes_it_in(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, tokens = Projected(1), random_tokens()
    model.bottleneck = nn.Linear(P, 3)
    model.decoder = nn.Linear(3, V)
    with torch.no_grad():
        expected = model.decoder(model.bottleneck(model.rnn(model.encoder(tokens))[0]))
    found = read_back(model, tmp_path)
    assert found.network.spec == LstmSpec(V, E, (H,), bottleneck=3, recurrent_ranks=(P,))
    torch.testing.assert_close(logits(found.network, tokens), expected, rtol=0, atol=1e-5)
