"""A matrix that an embedding looks up and a decoder reads: its columns are one axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import read_graph
from tests.compress.onnx.proving import assert_cut_equals_masked
from tests.tagger import export

WORDS, UNITS = 11, 6


class Tied(nn.Module):
    """A language model of one layer whose decoder is the embedding."""

    def __init__(self, words: int = WORDS) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, UNITS)
        self.lstm = nn.LSTM(UNITS, UNITS)

    def forward(self, ids: Tensor) -> Tensor:
        made, _ = self.lstm(self.embedding(ids))
        return nn.functional.linear(
            made.reshape(-1, UNITS), self.embedding.weight, torch.ones(WORDS)
        )


class Turned(Tied):
    """Multiplies by the embedding itself, whose rows are then units too."""

    def forward(self, ids: Tensor) -> Tensor:
        made, _ = self.lstm(self.embedding(ids))
        return made @ self.embedding.weight


def graph(module: nn.Module, folder: Path) -> Path:
    torch.manual_seed(0)
    example = (torch.zeros(4, 2, dtype=torch.int64),)
    free = {"ids": {0: "steps", 1: "batch"}}
    return export(module.eval(), example, folder / "tied.onnx", ["ids"], ["scores"], free)


def test_embedding_and_decoder_lose_the_same_columns(tmp_path: Path) -> None:
    model = read_graph(graph(Tied(), tmp_path))
    ids = np.random.default_rng(0).integers(0, WORDS, (5, 3))
    network = assert_cut_equals_masked(model, {"ids": ids})
    declaration = network.declaration()
    (axis,) = declaration.axes
    matrix = declaration.dimensions["embedding.weight"]
    assert [[segment.axis for segment in dimension] for dimension in matrix] == [[None], [axis]]
    # A repair of the decoder changes what the embedding gives.
    (produced,) = declaration.produced.items()
    assert produced[0] == "embedding.weight"
    layer = next(site for site in declaration.sites if site.name.endswith("forward"))
    assert produced[1] in layer.readers[0].activations


def test_matrix_whose_rows_are_units_and_looked_up_stays(tmp_path: Path) -> None:
    network = GraphNetwork.from_model(read_graph(graph(Turned(words=UNITS), tmp_path)))
    assert not network.declaration().axes
    (report,) = network.report()
    assert any("also read in a way that does not shrink" in reason for reason in report.reasons)
