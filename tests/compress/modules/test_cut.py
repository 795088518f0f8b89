"""A module cut in place: the small graph's outputs, the user's class, trainable."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from isslim.compress.errors import ModuleNotCut
from isslim.compress.modules.export import ExportedModule, export_module
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.pruning.axes import select_components
from isslim.runtime.graphs.recorded_inputs import GraphSession
from isslim.types.axis_names import is_units
from tests.compress.modules.small import small_network, whole_network
from tests.compress.modules.zoo import EXAMPLES, Call, Example, LanguageModel, train


def exported_example(name: str, folder: Path) -> tuple[Example, nn.Module, ExportedModule]:
    example = EXAMPLES[name]
    module = example.trained()
    return example, module, export_module(module, example.calls(12), folder / "graph.onnx")


def outputs_of(network: GraphNetwork, run: dict[str, np.ndarray], folder: Path) -> list[np.ndarray]:
    path = folder / "small.onnx"
    onnx.save(network.model(), path)
    return list(GraphSession(path).run(run).values())


@pytest.mark.parametrize("name", EXAMPLES)
def test_small_module_equals_small_graph_and_learns_on(name: str, tmp_path: Path) -> None:
    example, module, exported = exported_example(name, tmp_path)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    network = small_network(exported)

    small = exported.cut(network)

    assert type(small) is type(module)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in module.parameters())
    assert not any(part.training for part in small.modules())
    # The module's own call, not the one that the cut itself compares with.
    if "language" not in name:  # its states are of another size, see the test of states
        call, run = example.calls(12)[5], exported.recorded[5]
        wanted = outputs_of(network, run, tmp_path)[0]
        np.testing.assert_allclose(small(*call).detach().numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert_learns(example, small)
    # Tied, the layers of a module have one size, so that no unit is without weights.
    assert all(
        len({network.declaration().axes[name] for name in group}) == 1 for group in stacks(network)
    )
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert not module.training


def stacks(network: GraphNetwork) -> list[list[str]]:
    """Layers and directions of one module, where all of them may shrink."""
    axes = network.declaration().axes
    return [group for group in network.stacks() or [] if axes.keys() >= set(group)]


def mean_loss(example: Example, module: nn.Module, calls: list[Call]) -> float:
    with torch.no_grad():
        return float(sum(example.loss(module.eval(), call) for call in calls)) / len(calls)


def assert_learns(example: Example, small: nn.Module) -> None:
    """One epoch of Adam lowers the loss; copies, pickles and states survive it."""
    for twin in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        twin.load_state_dict(small.state_dict(), strict=True)
    calls = example.calls(16, seed=1)
    before, twin = mean_loss(example, small, calls), copy.deepcopy(small)
    train(example, twin.train(), calls, len(calls))
    assert mean_loss(example, twin, calls) < before
    assert all(each.requires_grad for each in small.parameters())
    fresh = copy.deepcopy(small)
    fresh.load_state_dict(twin.state_dict(), strict=True)
    after = mean_loss(example, twin, calls)
    assert mean_loss(example, fresh, calls) == pytest.approx(after)


def test_states_of_a_small_module_are_those_of_the_units_left(tmp_path: Path) -> None:
    example, _, exported = exported_example("language model", tmp_path)
    network = small_network(exported, free=True)
    small = exported.cut(network)
    axes = network.declaration().axes.items()
    layers = [name for name, _ in axes if is_units(name)]
    sizes = {name.split("/")[-1]: size for name, size in axes if is_units(name)}
    units = small.rnn.hidden_size
    assert units == max(sizes.values())
    tokens, (hidden, _) = example.calls(1)[0]
    zeros = torch.zeros(2, hidden.shape[1], units)

    with torch.no_grad():
        scores, (after, _) = small(tokens, (zeros, zeros.clone()))

    run = {
        "tokens": tokens.numpy(),
        **{f"hidden_{index}": np.zeros((2, hidden.shape[1], 12), np.float32) for index in (0, 1)},
    }
    wanted = outputs_of(network, run, tmp_path)
    np.testing.assert_allclose(scores.numpy(), wanted[0], rtol=1e-4, atol=1e-5)
    for layer in (0, 1):
        kept = network.arrays()[f"{layers[layer]}.kept"].astype(int)
        full = wanted[1][layer][:, kept]
        np.testing.assert_allclose(after[layer][:, : len(kept)].numpy(), full, rtol=1e-4, atol=1e-5)
        # Units that only fill up to the size of the other layer stay at zero.
        assert not after[layer][:, len(kept) :].any()


def slow_lstm(arrays: dict[str, Tensor], inputs: Tensor, suffix: str = "") -> Tensor:
    """PyTorch's documented LSTM step by step: inputs (T, I) to outputs (T, H)."""
    w, r = arrays[f"weight_ih_l0{suffix}"], arrays[f"weight_hh_l0{suffix}"]
    b = arrays[f"bias_ih_l0{suffix}"] + arrays[f"bias_hh_l0{suffix}"]
    h = c = torch.zeros(r.shape[1])
    made = []
    for x in inputs.flip(0) if suffix else inputs:
        i, f, g, o = (w @ x + r @ h + b).chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        made.append(h)
    return torch.stack(made[::-1] if suffix else made)


def slow_gru(arrays: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """PyTorch's documented GRU step by step: inputs (T, I) to outputs (T, H)."""
    h = torch.zeros(arrays["weight_hh_l0"].shape[1])
    made = []
    for x in inputs:
        xr, xz, xn = (arrays["weight_ih_l0"] @ x + arrays["bias_ih_l0"]).chunk(3)
        hr, hz, hn = (arrays["weight_hh_l0"] @ h + arrays["bias_hh_l0"]).chunk(3)
        z = torch.sigmoid(xz + hz)
        h = (1 - z) * torch.tanh(xn + torch.sigmoid(xr + hr) * hn) + z * h
        made.append(h)
    return torch.stack(made)


class Bare(nn.Module):
    """A layer and what reads it."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        self.out = nn.Linear(layer.hidden_size * (1 + layer.bidirectional), 2)

    def forward(self, series: Tensor) -> Tensor:
        result: Tensor = self.out(self.layer(series)[0])
        return result


@pytest.mark.parametrize(
    ("layer", "slow"),
    [
        (lambda: nn.LSTM(3, 6), slow_lstm),
        (lambda: nn.GRU(3, 6), slow_gru),
        (
            lambda: nn.LSTM(3, 6, bidirectional=True),
            lambda arrays, inputs: torch.cat(
                [slow_lstm(arrays, inputs), slow_lstm(arrays, inputs, "_reverse")], 1
            ),
        ),
    ],
    ids=["lstm", "gru", "both directions"],
)
def test_kept_units_are_rows_of_the_module_s_own_gates(
    layer: Callable[[], nn.RNNBase],
    slow: Callable[[dict[str, Tensor], Tensor], Tensor],
    tmp_path: Path,
) -> None:
    """Plain removal, by hand: rows of every gate and columns of every reader."""
    torch.manual_seed(0)
    module = Bare(layer()).eval()
    calls = [(torch.randn(5 + index, 1, 3),) for index in range(3)]
    exported = export_module(module, calls, tmp_path / "graph.onnx")
    network = whole_network(exported)
    kept = np.array([0, 2, 3, 5])
    keep = dict.fromkeys(network.declaration().axes, kept)
    arrays, _ = select_components(network.arrays(), network.declaration(), keep)

    small = exported.cut(network.rebuilt(arrays))

    by_hand = {}
    for name, value in module.layer.named_parameters():
        rows = value.detach().unflatten(0, (-1, 6))[:, kept].flatten(0, 1)
        by_hand[name] = rows[:, kept] if name.startswith("weight_hh") else rows
    for name, value in small.layer.named_parameters():
        if name.startswith("weight"):
            assert torch.equal(value, by_hand[name]), name
    directions = 1 + module.layer.bidirectional
    columns = module.out.weight.detach().unflatten(1, (directions, 6))[:, :, kept].flatten(1)
    assert torch.equal(small.out.weight, columns)
    made = slow(by_hand, calls[0][0][:, 0]) @ columns.T + module.out.bias
    assert torch.allclose(small(calls[0][0])[:, 0], made, atol=1e-5)


def test_layer_of_the_usual_size_is_seen(tmp_path: Path) -> None:
    """Its weights are put together in the graph, and are more than a million numbers."""
    torch.manual_seed(0)
    module = Bare(nn.LSTM(3, 600)).eval()
    exported = export_module(
        module, [(torch.randn(2 + i, 1, 3),) for i in range(2)], tmp_path / "graph.onnx"
    )
    network = whole_network(exported)
    assert list(network.declaration().axes.values()) == [600]
    arrays, _ = select_components(
        network.arrays(),
        network.declaration(),
        {name: np.arange(200) for name in network.declaration().axes},
    )
    assert exported.cut(network.rebuilt(arrays)).layer.hidden_size == 200


def flat_decoder(module: LanguageModel, tokens: Tensor) -> Tensor:
    """The decoder on a matrix of all steps."""
    made, _ = module.rnn(module.encoder(tokens))
    result: Tensor = module.decoder(made.reshape(-1, module.rnn.hidden_size))
    return result


def whole_decoder(module: LanguageModel, tokens: Tensor) -> Tensor:
    """The decoder on (T, B, H)."""
    result: Tensor = module.decoder(module.rnn(module.encoder(tokens))[0])
    return result


@pytest.mark.parametrize("forward", [flat_decoder, whole_decoder])
@pytest.mark.parametrize("bias", [False, True])
def test_tied_decoder_and_embedding_shrink_as_one(
    forward: Callable[[LanguageModel, Tensor], Tensor], bias: bool, tmp_path: Path
) -> None:
    class Tied(LanguageModel):
        def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
            return forward(self, tokens)

    torch.manual_seed(0)
    module = Tied(tied=True).eval()
    if not bias:
        module.decoder.bias = None
    calls = [(torch.randint(20, (4 + index, 2)),) for index in range(8)]
    exported = export_module(module, calls, tmp_path / "graph.onnx")
    network = small_network(exported)
    before, after = whole_network(exported).declaration(), network.declaration()
    assert before.axes.keys() == after.axes.keys()
    (size,) = set(after.axes.values())

    small = exported.cut(network)

    assert small.decoder.weight is small.encoder.weight
    assert small.encoder.weight.shape == (20, size)
    assert (small.rnn.input_size, small.rnn.hidden_size) == (size, size)
    assert module.decoder.weight is module.encoder.weight


def test_trained_or_not_stays_as_it_was(tmp_path: Path) -> None:
    example = EXAMPLES["sequential"]
    module = example.trained()
    module[0].weight.requires_grad_(False)
    exported = export_module(module, example.calls(8), tmp_path / "graph.onnx")
    small = exported.cut(small_network(exported))
    assert [name for name, each in small.named_parameters() if not each.requires_grad] == [
        "0.weight"
    ]


def test_units_without_weights_fill_up_where_sizes_differ(tmp_path: Path) -> None:
    example, _, exported = exported_example("packed tagger", tmp_path)
    network = small_network(exported, free=True)
    sizes = list(network.declaration().axes.values())
    assert len(set(sizes)) > 1

    small = exported.cut(network)

    assert small.lstm.hidden_size == max(sizes)
    ids, lengths = example.calls(12)[3]
    wanted = outputs_of(network, exported.recorded[3], tmp_path)[0]
    np.testing.assert_allclose(small(ids, lengths).detach().numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_layers_of_one_module_are_noted_in_the_graph(tmp_path: Path) -> None:
    _, _, exported = exported_example("translator", tmp_path)
    # The decoder begins with the encoder's states: all four layers share their units.
    (group,) = whole_network(exported).stacks()
    assert group == ["units:/encoder/LSTM.forward", "units:/encoder/LSTM_1.forward"]
    _, _, exported = exported_example("layer norm", tmp_path)
    assert len(whole_network(exported).stacks()) == 2


class Open(nn.Module):
    """The outputs of the last layer are the result, so that only the first can shrink."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 8, 2)

    def forward(self, series: Tensor) -> Tensor:
        made: Tensor = self.lstm(series)[0]
        return made


def test_layer_that_keeps_all_units_keeps_the_module_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    calls = [(torch.randn(4 + index, 2, 3),) for index in range(4)]
    exported = export_module(Open().eval(), calls, tmp_path / "graph.onnx")
    with pytest.raises(ModuleNotCut, match="Open would be as large as before") as caught:
        exported.cut(small_network(exported, free=True))
    (issue,) = caught.value.issues
    assert issue.startswith(
        "Open.lstm keeps its 8 units: they are what forward returns as 'output'"
    )


class HardCoded(LanguageModel):
    """Keeps its number of units."""

    def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
        made, _ = self.rnn(self.encoder(tokens))
        result: Tensor = self.decoder(made.reshape(-1, 12)).view(*tokens.shape, -1)
        return result


def test_code_that_keeps_the_old_size_is_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = HardCoded().eval()
    calls = [(torch.randint(20, (4 + index, 2)),) for index in range(4)]
    exported = export_module(module, calls, tmp_path / "graph.onnx")
    with pytest.raises(
        ModuleNotCut, match=r"HardCoded cannot be cut in place: with fewer units.*12"
    ):
        exported.cut(small_network(exported))


class Halved(nn.Module):
    """Uses a number of units in its arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 8, batch_first=True)
        self.out = nn.Linear(8, 2)

    def forward(self, series: Tensor) -> Tensor:
        made, _ = self.lstm(series)
        result: Tensor = self.out(made) / made.shape[-1]
        return result


def test_small_module_with_other_outputs_is_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    calls = [(torch.randn(2, 4 + index, 3),) for index in range(4)]
    exported = export_module(Halved().eval(), calls, tmp_path / "graph.onnx")
    with pytest.raises(ModuleNotCut, match="differs from the small graph's by"):
        exported.cut(small_network(exported))


class Scaled(nn.Module):
    """Computes a weight from a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 8, batch_first=True)
        self.weight = nn.Parameter(torch.randn(2, 8))

    def forward(self, series: Tensor) -> Tensor:
        return nn.functional.linear(self.lstm(series)[0], self.weight * 0.5)


def test_weight_that_forward_computes_is_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    calls = [(torch.randn(2, 4 + index, 3),) for index in range(4)]
    exported = export_module(Scaled().eval(), calls, tmp_path / "graph.onnx")
    with pytest.raises(ModuleNotCut, match="computed from parameters"):
        exported.cut(small_network(exported))
