"""A reader of pictures: a recurrent layer reads what convolutions see, column by column."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import read_graph
from tests.tagger import export


class Columns(nn.Module):
    """Channels and rows of a column together, by sizes that are computed where the graph runs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Conv2d(1, 4, 3, padding=1)
        self.recurrent = nn.LSTM(4 * 6, 10, bidirectional=True)
        self.letters = nn.Linear(20, 3)

    def forward(self, picture: Tensor) -> Tensor:
        columns = self.seen(picture).permute(3, 0, 1, 2)
        steps, batch, channels, rows = columns.shape
        said, _ = self.recurrent(columns.reshape(steps, batch, channels * rows))
        return self.letters(said)  # type: ignore[no-any-return]


@pytest.mark.parametrize("opset", [11, 12, 13, 17])
@pytest.mark.parametrize("width", ["free", "fixed"])
def test_layer_behind_merged_channels_is_found(width: str, opset: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    graph = export(
        Columns(), (torch.zeros(1, 1, 6, 9),), tmp_path / "columns.onnx", ["picture"], ["scores"],
        free={"picture": {3: "width"}, "scores": {0: "width"}} if width == "free" else {},
        opset=opset,
    )  # fmt: skip
    network = GraphNetwork.from_model(read_graph(graph))
    assert network.declaration().axes.keys() >= {
        "units:/recurrent/LSTM.forward",
        "units:/recurrent/LSTM.backward",
    }
    assert all(not each.reasons for each in network.report())
