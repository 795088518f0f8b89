"""Numbers of units that the user's own code keeps, in a module cut in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isslim.compress.errors import ModuleNotCut
from isslim.compress.modules.attributes import size_notes
from isslim.compress.modules.export import ExportedModule, export_module
from tests.compress.modules.small import small_network, whole_network


class Reshaped(nn.Module):
    """Reads the steps of all sequences as rows of `hidden_size` numbers, and starts with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden_size = 16
        self.lstm = nn.LSTM(6, 16, batch_first=True)
        self.scores = nn.Linear(16, 4)

    def forward(self, series: Tensor) -> Any:
        zeros = torch.zeros(1, series.size(0), self.hidden_size)
        made, _ = self.lstm(series, (zeros, zeros))
        rows = made.reshape(-1, self.hidden_size)
        return self.scores(rows).view(series.size(0), series.size(1), -1)


class Ends(nn.Module):
    """The last step of one direction and the first of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden_dim = 16
        self.lstm = nn.LSTM(6, 16, batch_first=True, bidirectional=True)
        self.scores = nn.Linear(32, 4)

    def forward(self, series: Tensor) -> Any:
        made, _ = self.lstm(series)
        ends = made[:, -1, : self.hidden_dim], made[:, 0, self.hidden_dim :]
        return self.scores(torch.cat(ends, -1))


@dataclass
class Config:
    hidden: int = 16


class Configured(Reshaped):
    def __init__(self) -> None:
        super().__init__()
        self.hidden_size = 0
        self.config = Config()
        self.options = {"width": 32}

    def forward(self, series: Tensor) -> Any:
        made, _ = self.lstm(series)
        return self.scores(made.reshape(-1, self.config.hidden)).view(*series.shape[:2], -1)


class Filtered(nn.Module):
    """`bins` equals the number of units, and is another number."""

    def __init__(self) -> None:
        super().__init__()
        self.bins, self.size, self.depth = 16, 16, 16
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.scores = nn.Linear(16, 4)

    def forward(self, series: Tensor) -> Any:
        made, _ = self.lstm(series.reshape(series.size(0), -1, self.bins))
        return self.scores(made.reshape(-1, self.size)).view(series.size(0), -1, 4)


class Awd(nn.Module):
    """The layout of AWD-LSTM: a list of layers, states of all of them from `init_hidden`."""

    def __init__(self) -> None:
        super().__init__()
        self.nhid, self.ninp = 20, 12
        self.encoder = nn.Embedding(30, 12)
        sizes = [(12, 20), (20, 20), (20, 12)]
        self.rnns = nn.ModuleList(nn.LSTM(*each) for each in sizes)
        self.decoder = nn.Linear(12, 30)
        self.decoder.weight = self.encoder.weight

    def forward(self, tokens: Tensor, hidden: list[tuple[Tensor, Tensor]]) -> Any:
        made, states = self.encoder(tokens), []
        for layer, state in zip(self.rnns, hidden, strict=True):
            made, state = layer(made, state)
            states.append(state)
        return self.decoder(made), states

    def init_hidden(self, batch: int) -> list[tuple[Tensor, Tensor]]:
        sizes = [self.nhid, self.nhid, self.ninp]
        return [(torch.zeros(1, batch, size), torch.zeros(1, batch, size)) for size in sizes]


class Written(Reshaped):
    """The number is in the code, and an attribute holds it too."""

    def forward(self, series: Tensor) -> Any:
        made, _ = self.lstm(series)
        return self.scores(made.reshape(-1, 16)).view(*series.shape[:2], -1)


class Combined(nn.Module):
    """Both states in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 16)
        self.scores = nn.Linear(16, 1)

    def forward(self, series: Tensor, state: Tensor) -> Any:
        made, (hidden, cell) = self.lstm(series, (state[0:1], state[1:2]))
        return self.scores(made), torch.stack([hidden[0], cell[0]])


class Mixed(nn.Module):
    """Two layers of one number, of which one keeps its units."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = 16
        self.first = nn.GRU(6, 16, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.second = nn.GRU(16, 16, batch_first=True)
        self.scores = nn.Linear(16, 4)

    def forward(self, series: Tensor) -> Any:
        made, _ = self.first(series)
        return self.scores(self.second(self.norm(made))[0])


def series(width: int = 6) -> list[Any]:
    torch.manual_seed(0)
    return [(torch.randn(2 + index % 3, 5 + index % 4, width),) for index in range(8)]


def exported(module: nn.Module, calls: Sequence[Any], folder: Path) -> ExportedModule:
    return export_module(module.eval(), calls, folder / "graph.onnx")


@pytest.mark.parametrize(
    ("make", "attribute", "path"),
    [
        (Reshaped, "hidden_size", "Reshaped.hidden_size"),
        (Ends, "hidden_dim", "Ends.hidden_dim"),
    ],
)
def test_attribute_that_forward_needs_is_set(
    make: type[nn.Module], attribute: str, path: str, tmp_path: Path
) -> None:
    module = make()
    made = exported(module, series(), tmp_path)
    small = made.cut(small_network(made))
    size = small.lstm.hidden_size
    assert getattr(small, attribute) == size < 16
    assert getattr(module, attribute) == 16
    other = torch.randn(7, 3, 6)
    assert small(other).shape == module(other).shape
    assert size_notes(made.module, small) == [f"{path} is {size} now, and was 16"]


def test_settings_are_looked_into(tmp_path: Path) -> None:
    module = Configured()
    made = exported(module, series(), tmp_path)
    small = made.cut(small_network(made))
    assert small.config.hidden == small.lstm.hidden_size < 16
    assert module.config.hidden == 16
    assert small.options == {"width": 32}


def test_number_that_only_equals_the_units_stays(tmp_path: Path) -> None:
    made = exported(Filtered(), series(16), tmp_path)
    small = made.cut(small_network(made))
    size = small.lstm.hidden_size
    # `depth` is never read, and equals a width that has not changed: it is left, and told.
    assert (small.bins, small.size, small.depth) == (16, size, 16)
    assert size_notes(made.module, small) == [
        f"Filtered.bins is 16 as before, where layers have {size} units now",
        f"Filtered.size is {size} now, and was 16",
        f"Filtered.depth is 16 as before, where layers have {size} units now",
    ]


def test_code_beside_forward_makes_states_that_fit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Awd()
    calls = [
        (torch.randint(30, (6 + index % 4, 1 + index % 3)), module.init_hidden(1 + index % 3))
        for index in range(8)
    ]
    made = exported(module, calls, tmp_path)
    small = made.cut(small_network(made))
    assert small.nhid == small.rnns[0].hidden_size == small.rnns[1].hidden_size < 20
    scores, states = small(torch.randint(30, (4, 5)), small.init_hidden(5))
    assert scores.shape == (4, 5, 30)
    assert [each.shape for each, _ in states] == [each.shape for each, _ in small.init_hidden(5)]


def test_layer_that_keeps_its_units_is_not_tied_by_an_attribute(tmp_path: Path) -> None:
    made = exported(Mixed(), series(), tmp_path)
    assert [len(group) for group in whole_network(made).stacks() or []] == [1, 1]
    small = made.cut(small_network(made))
    assert (small.first.hidden_size, small.hidden) == (16, 16)
    size = small.second.hidden_size
    assert size < 16
    assert size_notes(made.module, small) == [
        f"Mixed.hidden is 16 as before, where layers have {size} units now"
    ]


def test_attribute_that_does_not_help_is_named(tmp_path: Path) -> None:
    made = exported(Written(), series(), tmp_path)
    with pytest.raises(ModuleNotCut, match="numbers of units that are written in its code") as told:
        made.cut(small_network(made))
    (issue,) = told.value.issues
    assert issue.startswith("Written.hidden_size holds 16, and so does not fit either at ")
    assert issue in told.value.detail
    assert isinstance(told.value.__cause__, RuntimeError)


def test_states_in_one_tensor_are_told_by_their_argument(tmp_path: Path) -> None:
    calls = [
        (torch.randn(5 + i % 3, 1 + i % 2, 6), torch.zeros(2, 1 + i % 2, 16)) for i in range(6)
    ]
    made = exported(Combined(), calls, tmp_path)
    with pytest.raises(ModuleNotCut) as told:
        made.cut(small_network(made))
    assert told.value.issues == [
        "the argument 'state' of shape (2, 1, 16) has as many entries as Combined.lstm had units: "
        "if it holds several states in one tensor, or a part of one, give each state of a layer as "
        "an argument of its own, (layers, batch, units)"
    ]
    assert told.value.issues[0] in told.value.detail
