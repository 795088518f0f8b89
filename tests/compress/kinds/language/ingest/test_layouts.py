"""Every layout against the torch module that it came from; every refusal with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from isslim.compress.errors import CompressError, UnknownArchitecture, UnreadableUpload
from isslim.compress.kinds.language.ingest.layouts import read_model
from tests.compress.kinds.language.networks.test_networks import random_network, random_tokens

V, E, H, L = 19, 6, 8, 2


class Plain(nn.Module):
    """A language model as people write them."""

    def __init__(
        self, names: tuple[str, str, str] = ("embed", "lstm", "fc"), **options: Any
    ) -> None:
        super().__init__()
        self.names = names
        setattr(self, names[0], nn.Embedding(V, E))
        self.lstm_module = nn.LSTM(E, H, L, **options)
        setattr(self, names[1], self.lstm_module)
        del self.lstm_module
        width = options.get("proj_size") or H
        setattr(self, names[2], nn.Linear(width, V))

    def forward(self, tokens: Tensor) -> Tensor:
        embed, lstm, head = (getattr(self, name) for name in self.names)
        result: Tensor = head(lstm(embed(tokens))[0])
        return result


def ours(path: Path, tokens: Tensor, config: Path | None = None) -> tuple[Tensor, str]:
    ingested = read_model(path, config)
    with torch.no_grad():
        logits, _ = ingested.network(tokens, ingested.network.zero_state(tokens.shape[1]))
    return logits, ingested.layout


def told(tmp_path: Path, **config: Any) -> Path:
    """A config file."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path / "config.json"


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(V, (7, 3), generator=torch.Generator().manual_seed(1))


def saved(content: Any, tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "names",
    [
        ("embed", "lstm", "fc"),
        ("encoder", "rnn", "decoder"),
        ("embedding", "rnn", "linear"),
        ("token_embedding_table", "lstm", "proj"),
        ("word_embeddings", "encoder", "classification_layer"),
        ("embedding", "lstm", "hidden2lang"),
    ],
    ids="-".join,
)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"proj_size": 5}], ids=str)
def test_plain_families_keep_their_logits(
    names: tuple[str, str, str], options: dict[str, Any], tmp_path: Path, tokens: Tensor
) -> None:
    torch.manual_seed(0)
    model = Plain(names, **options)
    found, layout = ours(saved(model.state_dict(), tmp_path), tokens)
    torch.testing.assert_close(found, model(tokens), rtol=0, atol=1e-5)
    assert ("projection" in layout) == ("proj_size" in options)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model_state_dict": state, "loss": 0.5},
        lambda state: {"model_state": state},
        lambda state: {"model": state},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}},
        lambda state: {name: value.double() for name, value in state.items()},
    ],
)
def test_wrappers_are_unwrapped(wrap: Callable[[Any], Any], tmp_path: Path, tokens: Tensor) -> None:
    torch.manual_seed(0)
    model = Plain()
    found, _ = ours(saved(wrap(model.state_dict()), tmp_path), tokens)
    torch.testing.assert_close(found, model(tokens), rtol=0, atol=1e-5)


def test_awd_lstm_takes_the_raw_weights(tmp_path: Path, tokens: Tensor) -> None:
    torch.manual_seed(0)
    layers = [nn.LSTM(E, 9), nn.LSTM(9, E)]
    table = nn.Embedding(V, E)
    bias = torch.randn(V)
    state: dict[str, Tensor] = {
        "encoder.weight": table.weight,
        "decoder.weight": table.weight,
        "decoder.bias": bias,
    }
    for index, layer in enumerate(layers):
        for name, value in layer.state_dict().items():
            key = (
                f"rnns.{index}.weight_hh_l0_raw"
                if name == "weight_hh_l0"
                else f"rnns.{index}.module.{name}"
            )
            state[key] = value
        state[f"rnns.{index}.module.weight_hh_l0"] = torch.zeros_like(
            layer.weight_hh_l0
        )  # a dropped copy
    found, layout = ours(saved(state, tmp_path), tokens)
    hidden = table(tokens)
    for layer in layers:
        hidden, _ = layer(hidden)
    torch.testing.assert_close(found, hidden @ table.weight.T + bias, rtol=0, atol=1e-5)
    assert layout.startswith(
        "AWD-LSTM layout: 2 LSTM layers of 9 and 6 units, tied; dropped: "
        "rnns.0.module.weight_hh_l0 (36, 9)"
    )


def test_fastai_names_hold_the_embedding_twice(tmp_path: Path, tokens: Tensor) -> None:
    torch.manual_seed(0)
    lstm, table, bias = nn.LSTM(E, E), nn.Embedding(V, E), torch.randn(V)
    state = {"0.encoder.weight": table.weight, "0.encoder_dp.emb.weight": table.weight}
    for name, value in lstm.state_dict().items():
        state[
            "0.rnns.0.weight_hh_l0_raw" if name == "weight_hh_l0" else f"0.rnns.0.module.{name}"
        ] = value
    state |= {"1.decoder.weight": table.weight, "1.decoder.bias": bias}
    path = saved({"model": state, "opt": {"lr": 0.1}}, tmp_path)
    found, layout = ours(path, tokens)
    torch.testing.assert_close(
        found, lstm(table(tokens))[0] @ table.weight.T + bias, rtol=0, atol=1e-5
    )
    assert "dropped: '0.encoder_dp.emb.weight', the same as '0.encoder.weight'" in layout
    state["0.encoder_dp.emb.weight"] = (
        table.weight + 1
    )  # no twin: nobody knows which one the model reads
    with pytest.raises(UnknownArchitecture, match=r"encoder_dp\.emb\.weight"):
        read_model(saved(state, tmp_path), None)


def test_tied_model_without_a_decoder_and_as_safetensors(tmp_path: Path, tokens: Tensor) -> None:
    torch.manual_seed(0)
    lstm, table = nn.LSTM(H, H), nn.Embedding(V, H)
    state = {
        "encoder.weight": table.weight.detach(),
        **{f"rnn.{k}": v for k, v in lstm.state_dict().items()},
    }
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(
        UnknownArchitecture, match=r'decoder\'s matrix \(19, 8\) is missing.*\{"tied": true\}'
    ):
        read_model(tmp_path / "model.safetensors", None)
    found, layout = ours(tmp_path / "model.safetensors", tokens, told(tmp_path, tied=True))
    torch.testing.assert_close(found, lstm(table(tokens))[0] @ table.weight.T, rtol=0, atol=1e-5)
    assert "tied, as the config says" in layout


def test_one_hot_model(tmp_path: Path, tokens: Tensor) -> None:
    torch.manual_seed(0)
    lstm, head = nn.LSTM(V, H), nn.Linear(H, V)
    state = {
        **{f"lstm.{k}": v for k, v in lstm.state_dict().items()},
        "fc.weight": head.weight,
        "fc.bias": head.bias,
    }
    with pytest.raises(UnknownArchitecture, match=r'embedding is missing.*\{"one_hot": true\}'):
        read_model(saved(state, tmp_path), None)
    found, layout = ours(tmp_path / "model.pt", tokens, told(tmp_path, one_hot=True))
    assert "an identity embedding, whose entries count as parameters" in layout
    expected = head(lstm(torch.eye(V)[tokens])[0])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_ten_modules_stay_in_the_order_of_their_numbers(tmp_path: Path, tokens: Tensor) -> None:
    torch.manual_seed(0)
    layers, table, head = [nn.LSTM(E, E) for _ in range(11)], nn.Embedding(V, E), nn.Linear(E, V)
    state = {"embed.weight": table.weight, "out.weight": head.weight, "out.bias": head.bias}
    for index, layer in enumerate(layers):
        state |= {f"rnns.{index}.{name}": value for name, value in layer.state_dict().items()}
    found, _ = ours(saved(state, tmp_path), tokens)
    hidden = table(tokens)
    for layer in layers:
        hidden, _ = layer(hidden)
    torch.testing.assert_close(found, head(hidden), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "names", [("embed", "gru", "fc"), ("encoder", "rnn", "decoder")], ids="-".join
)
@pytest.mark.parametrize("bias", [True, False])
def test_grus_are_recognised_by_their_gates(
    names: tuple[str, str, str], bias: bool, tmp_path: Path, tokens: Tensor
) -> None:
    torch.manual_seed(0)
    table, gru, head = nn.Embedding(V, E), nn.GRU(E, H, L, bias=bias), nn.Linear(H, V)
    modules = zip(names, (table, gru, head), strict=True)
    state = {
        f"{name}.{key}": value
        for name, module in modules
        for key, value in module.state_dict().items()
    }
    found, layout = ours(saved(state, tmp_path), tokens)
    torch.testing.assert_close(found, head(gru(table(tokens))[0]), rtol=0, atol=1e-5)
    assert "2 GRU layers" in layout
    assert read_model(tmp_path / "model.pt", None).network.architecture == "gru-language-model"


def test_gru_cells_tied_and_one_hot(tmp_path: Path, tokens: Tensor) -> None:
    torch.manual_seed(0)
    cell, head = nn.GRUCell(V, H), nn.Linear(H, V)
    state = {
        **{f"cell.{k}": v for k, v in cell.state_dict().items()},
        "fc.weight": head.weight,
        "fc.bias": head.bias,
    }
    found, _ = ours(saved(state, tmp_path), tokens, told(tmp_path, one_hot=True))
    hidden, expected = torch.zeros(tokens.shape[1], H), []
    for row in torch.eye(V)[tokens]:
        hidden = cell(row, hidden)
        expected.append(head(hidden))
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-5)
    gru, table = nn.GRU(H, H), nn.Embedding(V, H)
    tied = {
        "encoder.weight": table.weight.detach(),
        **{f"rnn.{k}": v for k, v in gru.state_dict().items()},
    }
    found, layout = ours(saved(tied, tmp_path), tokens, told(tmp_path, tied=True))
    torch.testing.assert_close(found, gru(table(tokens))[0] @ table.weight.T, rtol=0, atol=1e-5)
    assert "tied, as the config says" in layout


@pytest.mark.parametrize("name", ["rhn", "rhn-tied", "rhn-depth-1"])
def test_own_highway_networks_keep_their_logits(name: str, tmp_path: Path) -> None:
    network, tokens = random_network(name), random_tokens()
    tied = network.declaration().produced != {}
    for prefix in ("", "module."):
        state = {prefix + key: value for key, value in network.state_dict().items()}
        found, layout = ours(saved(state, tmp_path), tokens)
        torch.testing.assert_close(found, network(tokens, network.zero_state(3))[0], rtol=0, atol=0)
        assert layout.startswith("recurrent highway network layout: depth")
        assert layout.endswith(", tied" if tied else ", untied")
    if tied:
        del state["module.decoder.weight"]
        with pytest.raises(UnknownArchitecture, match=r"decoder\.weight is missing"):
            read_model(saved(state, tmp_path), None)
        alone, _ = ours(tmp_path / "model.pt", tokens, told(tmp_path, tied=True))
        torch.testing.assert_close(alone, found, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s | {"highway.depths.3.norm": torch.randn(9)}, "highway.depths.3.norm"),
        (
            lambda s: {k: v for k, v in s.items() if "depths.1.weight" not in k},
            "depths, 1 are missing",
        ),
        (
            lambda s: {k: v for k, v in s.items() if "depths.1.bias" not in k},
            "'highway.depths.1.bias' is declared but absent",
        ),
        (
            lambda s: {k: v for k, v in s.items() if "input" not in k},
            "'highway.input.weight' is declared but absent",
        ),
        (lambda s: s | {"highway.depths.2.weight": torch.randn(9, 18)}, "highway.depths.2.weight"),
        (
            lambda s: {k: v for k, v in s.items() if "depths" not in k},
            "no 'highway.depths.0.weight'",
        ),
        (lambda s: {k: v for k, v in s.items() if "embedding" not in k}, "no 'embedding.weight'"),
        (lambda s: s | {"lstm.weight_ih_l0": torch.randn(4 * H, E)}, "lstm.weight_ih_l0"),
    ],
)
def test_highway_networks_of_another_form_are_refused_by_name(
    change: Callable[[Any], Any], reason: str, tmp_path: Path
) -> None:
    path = saved(change(dict(random_network("rhn").state_dict())), tmp_path)
    with pytest.raises(UnknownArchitecture, match=r"Expected: embedding\.weight") as refused:
        read_model(path, None)
    assert reason in refused.value.detail


def test_config_that_contradicts_a_highway_network_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    untied, tied = random_network("rhn").state_dict(), dict(random_network("rhn-tied").state_dict())
    del tied["decoder.weight"]
    for state, told in ((untied, "true"), (tied, "false")):
        config.write_text(f'{{"tied": {told}}}')
        with pytest.raises(UnknownArchitecture, match="the config says"):
            read_model(saved(state, tmp_path), config)


def test_rename_in_the_config_explains_a_foreign_name(tmp_path: Path, tokens: Tensor) -> None:
    torch.manual_seed(0)
    model = Plain()
    names = {"zzz.matrix": "fc.weight", "zzz.vector": "fc.bias"}
    state = dict(model.state_dict()) | {
        name: model.state_dict()[own] for name, own in names.items()
    }
    path = saved(
        {name: value for name, value in state.items() if name not in names.values()}, tmp_path
    )
    with pytest.raises(
        CompressError,
        match=r'If it is \'zzz.matrix\', say so in the config: \{"rename": \{"zzz.matrix"',
    ):
        read_model(path, None)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"rename": names}))
    torch.testing.assert_close(ours(path, tokens, config)[0], model(tokens), rtol=0, atol=1e-5)
    config.write_text('{"nope": 1}')
    with pytest.raises(UnreadableUpload, match="config"):
        read_model(path, config)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s | {"attention.weight": torch.randn(4, 4)}, "attention.weight"),
        (lambda s: s | {"norm.weight": torch.randn(H), "norm.bias": torch.randn(H)}, "norm.weight"),
        (lambda s: s | {"lstm.weight_ih_l0_reverse": torch.randn(4 * H, E)}, "bidirectional"),
        (lambda s: {k: v for k, v in s.items() if "lstm" not in k}, "no recurrent layer"),
        (
            lambda s: {k: v for k, v in s.items() if "weight_hh_l1" not in k},
            "lacks weight_ih or weight_hh",
        ),
        (
            lambda s: (
                s
                | {
                    "lstm.weight_hh_l0": torch.randn(3 * H, H),
                    "lstm.weight_ih_l0": torch.randn(3 * H, E),
                }
            ),
            "GRU",
        ),
        (
            lambda s: (
                s | {"lstm.weight_hh_l0": torch.randn(H, H), "lstm.weight_ih_l0": torch.randn(H, E)}
            ),
            "plain RNN",
        ),
        (
            lambda s: {
                k: v[: 3 * H] if "lstm" in k else v for k, v in s.items()
            },  # three gates: a GRU's, or an LSTM's with coupled gates?
            "is called LSTM, but its weight_hh has the 24 rows of a GRU",
        ),
        (lambda s: {k.replace("lstm", "gru"): v for k, v in s.items()}, "is called GRU, but"),
        (
            lambda s: {
                k.replace("lstm", "rnn"): v[: 3 * H] if k.endswith("l1") else v
                for k, v in s.items()
            },
            "not of one kind (rnn layer 0: LSTM, rnn layer 1: GRU)",
        ),
        (lambda s: s | {"lstm.weight_hh_l0": torch.randn(4 * H)}, "no matrix"),
        (lambda s: s | {"conv.weight": torch.randn(2, 2, 2)}, "conv.weight"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    change: Callable[[Any], Any], reason: str, tmp_path: Path
) -> None:
    path = saved(change(dict(Plain().state_dict())), tmp_path)
    with pytest.raises(UnknownArchitecture, match="Expected: an embedding") as refused:
        read_model(path, None)
    assert reason in refused.value.detail
    assert any("embed.weight" in issue for issue in refused.value.issues)


def test_float16_weights_become_float32(tmp_path: Path, tokens: Tensor) -> None:
    torch.manual_seed(0)
    model = Plain().half()
    found, _ = ours(saved(model.state_dict(), tmp_path), tokens)
    np.testing.assert_allclose(
        found.numpy(), model.float()(tokens).detach().numpy(), rtol=0, atol=1e-5
    )
