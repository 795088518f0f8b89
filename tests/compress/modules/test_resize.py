"""Parameters of other sizes in a copy of a module, and the sizes that its layers know."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from isslim.compress.errors import ModuleNotCut
from isslim.compress.modules.resize import resize_module


def resized(layer: nn.Module, **shapes: tuple[int, ...]) -> nn.Module:
    """A layer in a container, resized by the shapes of its parameters."""
    torch.manual_seed(0)
    arrays = {f"0.{name}": torch.randn(shape) for name, shape in shapes.items()}
    small = resize_module(nn.Sequential(layer), arrays)
    for name, value in arrays.items():
        assert torch.equal(small.state_dict()[name], value)
    return small[0]


@pytest.mark.parametrize(
    ("layer", "shapes", "inputs", "wanted"),
    [
        (nn.Linear(6, 4), {"weight": (3, 5), "bias": (3,)}, (2, 5), (2, 3)),
        (nn.Linear(6, 4, bias=False), {"weight": (4, 5), "bias": (4,)}, (2, 5), (2, 4)),
        (nn.Conv1d(6, 4, 3), {"weight": (4, 5, 3)}, (2, 5, 7), (2, 4, 5)),
        (nn.Conv1d(6, 6, 3, groups=6), {"weight": (5, 1, 3), "bias": (5,)}, (2, 5, 7), (2, 5, 5)),
        (nn.Conv1d(6, 12, 1, groups=6), {"weight": (8, 1, 1), "bias": (8,)}, (2, 4, 7), (2, 8, 7)),
        (nn.ConvTranspose1d(6, 4, 3), {"weight": (5, 4, 3)}, (2, 5, 7), (2, 4, 9)),
        (nn.LayerNorm(6), {"weight": (5,), "bias": (5,)}, (2, 5), (2, 5)),
        (nn.GroupNorm(2, 6), {"weight": (4,), "bias": (4,)}, (2, 4, 3), (2, 4, 3)),
        (nn.PReLU(6), {"weight": (5,)}, (2, 5), (2, 5)),
        (
            nn.BatchNorm1d(6),
            dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (5,)),
            (2, 5),
            (2, 5),
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_layer_runs_at_its_new_size_and_says_so(
    layer: nn.Module,
    shapes: dict[str, tuple[int, ...]],
    inputs: tuple[int, ...],
    wanted: tuple[int, ...],
) -> None:
    small = resized(layer.train(), **shapes)
    assert small(torch.randn(inputs)).shape == wanted
    # A layer that is built with the numbers it shows has the parameters of the new sizes.
    assert repr(small) != repr(layer) or "bias" in shapes
    if isinstance(small, nn.Linear):
        assert (small.in_features, small.out_features) == (inputs[-1], wanted[-1])
    if isinstance(small, nn.Conv1d | nn.ConvTranspose1d):
        assert (small.in_channels, small.out_channels) == (inputs[1], wanted[1])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layer_gets_its_sizes_and_biases(kind: type[nn.RNNBase], *, both: bool) -> None:
    small = kind(3, 4, 2, bias=True, bidirectional=both)
    arrays = {f"0.{name}": value.detach().clone() for name, value in small.named_parameters()}
    large = kind(5, 6, 2, bias=False, bidirectional=both)

    found = resize_module(nn.Sequential(large), arrays)[0]

    assert (found.input_size, found.hidden_size, found.bias) == (3, 4, True)
    inputs = torch.randn(5, 2, 3)
    assert torch.equal(found(inputs)[0], small(inputs)[0])
    assert [name for name, _ in found.named_parameters()] == [*dict(found.named_parameters())]
    assert found.state_dict().keys() == small.state_dict().keys()
    assert [[tensor.shape for tensor in row] for row in found.all_weights] == [
        [tensor.shape for tensor in row] for row in small.all_weights
    ]
    assert found._apply(lambda tensor: tensor * 2) is found
    assert not torch.equal(found(inputs)[0], small(inputs)[0])


def test_biases_of_one_layer_are_zeros_in_the_others() -> None:
    layer = nn.GRU(3, 4, 2, bias=False)
    arrays = {f"0.bias_{which}_l1": torch.randn(12) for which in ("ih", "hh")}
    found = resize_module(nn.Sequential(layer), arrays)[0]
    assert not found.bias_ih_l0.any()
    assert torch.equal(found.bias_hh_l1, arrays["0.bias_hh_l1"])
    twin = nn.GRU(3, 4, 2)
    twin.load_state_dict(found.state_dict(), strict=True)
    inputs = torch.randn(5, 2, 3)
    assert torch.equal(found(inputs)[0], twin(inputs)[0])


class Tied(nn.Module):
    """An embedding and its decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Embedding(7, 6)
        self.decoder = nn.Linear(6, 7)
        self.decoder.weight = self.encoder.weight

    def forward(self, ids: Tensor) -> Tensor:
        result: Tensor = self.decoder(self.encoder(ids))
        return result


def test_shared_parameter_stays_shared_unless_its_values_differ() -> None:
    module, small = Tied(), torch.randn(7, 4)
    one = resize_module(module, {"encoder.weight": small})
    assert one.decoder.weight is one.encoder.weight
    assert (one.decoder.in_features, one.encoder.embedding_dim) == (4, 4)
    same = resize_module(module, {"encoder.weight": small, "decoder.weight": small.clone()})
    assert same.decoder.weight is same.encoder.weight
    apart = resize_module(module, {"encoder.weight": small, "decoder.weight": torch.randn(7, 5)})
    assert (apart.decoder.in_features, apart.encoder.embedding_dim) == (5, 4)
    assert module.decoder.weight is module.encoder.weight


@pytest.mark.parametrize("name", ["0.scale", "1.weight", "weight"])
def test_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ModuleNotCut, match=rf"Sequential\.{name} is no parameter or buffer"):
        resize_module(nn.Sequential(nn.Linear(2, 2)), {name: torch.zeros(2)})


def test_requires_grad_is_kept() -> None:
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    small = resize_module(layer, {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)})
    assert small.weight.requires_grad
    assert not small.bias.requires_grad
