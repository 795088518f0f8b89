"""The order of separate recurrent modules: never the alphabet's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from isslim.compress.errors import UnknownArchitecture
from isslim.compress.kinds.language.ingest.layouts import read_model

V, E = 19, 6
NAMES = ("lstm_one", "lstm_two", "lstm_three")
UNORDERED = ("rnn_red", "rnn_green", "rnn_blue")


def stack(
    widths: dict[str, tuple[int, int]],
) -> tuple[dict[str, Tensor], Callable[[Tensor], Tensor]]:
    """A state dict with modules of these names and widths, and what the model computes."""
    torch.manual_seed(0)
    table, layers = nn.Embedding(V, E), {name: nn.LSTM(*sizes) for name, sizes in widths.items()}
    head = nn.Linear(list(widths.values())[-1][1], V)
    modules = {"embed": table, **layers, "fc": head}
    state = {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }

    def compute(tokens: Tensor) -> Tensor:
        hidden = table(tokens)
        for layer in layers.values():
            hidden, _ = layer(hidden)
        result: Tensor = head(hidden)
        return result

    return state, compute


def check(path: Path, compute: Callable[[Tensor], Tensor], config: Path | None = None) -> None:
    tokens = torch.randint(V, (7, 3), generator=torch.Generator().manual_seed(1))
    network = read_model(path, config).network
    with torch.no_grad():
        found, _ = network(tokens, network.zero_state(3))
    torch.testing.assert_close(found, compute(tokens), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "names",
    [
        NAMES,
        ("lstm", "lstm2", "lstm3"),
        ("rnn_top_0", "rnn_top_1"),
        ("first.rnn", "second.rnn"),
        ("lower_rnn", "upper_rnn"),
    ],
)
def test_numbers_in_words_order_modules(names: tuple[str, ...], tmp_path: Path) -> None:
    state, compute = stack(dict.fromkeys(names, (E, E)))
    save_file(state, tmp_path / "model.safetensors")
    check(tmp_path / "model.safetensors", compute)


@pytest.mark.parametrize(
    "names",
    [("lstm", "cell_lstm", "a_lstm2"), ("first.rnn", "again.rnn", "2.rnn"), ("rnn_a", "rnn_b")],
)
def test_names_without_an_order_are_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    state, compute = stack(dict.fromkeys(names, (E, E)))
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UnknownArchitecture, match="order of the recurrent modules"):
        read_model(tmp_path / "model.pt", None)
    (tmp_path / "config.json").write_text(json.dumps({"layers": names}))
    check(tmp_path / "model.pt", compute, tmp_path / "config.json")


@pytest.mark.parametrize(
    "names",
    [
        [f"lstm_v2_{number}" for number in range(1, 12)],
        [f"b.{number}.rnn.0" for number in range(11)],
    ],
)
def test_numbers_order_a_sorted_file(names: tuple[str, ...], tmp_path: Path) -> None:
    state, compute = stack(dict.fromkeys(names, (E, E)))
    save_file(state, tmp_path / "model.safetensors")
    check(tmp_path / "model.safetensors", compute)
    torch.save({name: state[name] for name in sorted(state)}, tmp_path / "sorted.pt")
    check(tmp_path / "sorted.pt", compute)


def test_sorted_file_without_numbers_is_refused_unless_the_config_lists_the_layers(
    tmp_path: Path,
) -> None:
    state, compute = stack(dict.fromkeys(UNORDERED, (E, E)))
    save_file(state, tmp_path / "model.safetensors")
    torch.save({name: state[name] for name in sorted(state)}, tmp_path / "sorted.pt")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"layers": UNORDERED}))
    for path in (tmp_path / "model.safetensors", tmp_path / "sorted.pt"):
        with pytest.raises(
            UnknownArchitecture,
            match="order of the recurrent modules 'rnn_blue', 'rnn_green', 'rnn_red'",
        ):
            read_model(path, None)
        check(path, compute, config)
    for layers in (["rnn_red"], [*UNORDERED, "rnn_grey"], ["rnn_red", "rnn_red", "rnn_blue"]):
        config.write_text(json.dumps({"layers": layers}))
        with pytest.raises(UnknownArchitecture, match="'rnn_green', 'rnn_red' is expected once"):
            read_model(tmp_path / "sorted.pt", config)


def test_shapes_order_what_they_force(tmp_path: Path) -> None:
    state, compute = stack({"rnn_red": (E, 9), "rnn_green": (9, 7), "rnn_blue": (7, 7)})
    save_file(state, tmp_path / "model.safetensors")
    check(tmp_path / "model.safetensors", compute)


def test_more_modules_than_are_tried_are_refused_at_once(tmp_path: Path) -> None:
    state, _ = stack({f"lstm_{letter}": (E, E) for letter in "abcdefghijklmn"})
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UnknownArchitecture, match="order of the recurrent modules"):
        read_model(tmp_path / "model.safetensors", None)


def test_one_module_under_two_names_is_not_two_layers(tmp_path: Path) -> None:
    state, _ = stack({"lstm": (E, E)})
    state |= {
        name.replace("lstm", "layers.0"): value for name, value in state.items() if "lstm" in name
    }
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UnknownArchitecture, match=r"'lstm' and 'layers\.0' hold the same weights"):
        read_model(tmp_path / "model.pt", None)
    (tmp_path / "config.json").write_text('{"layers": ["lstm", "layers.0"]}')
    assert "2 LSTM layers" in read_model(tmp_path / "model.pt", tmp_path / "config.json").layout


def test_layer_missing_inside_a_module_is_noticed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state, lstm = stack({"lstm": (E, E)})[0], nn.LSTM(E, E, 3)
    state |= {
        f"lstm.{name}": value
        for name, value in lstm.state_dict().items()
        if not name.endswith("l1")
    }
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UnknownArchitecture, match=r"only \[0, 2\] are there"):
        read_model(tmp_path / "model.pt", None)
