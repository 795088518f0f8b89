"""legere: reads a printed line of text. Separable convolutions, a GRU in both directions, CTC."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.pictures import line
from benchmarks.published.exporting import export
from benchmarks.published.metrics import error_rate
from benchmarks.published.model import (
    EQUAL,
    SCORED_FROM,
    Published,
    Speakers,
    Streams,
    Task,
    file_of,
)
from benchmarks.published.playing import answers
from benchmarks.published.texts import english_lines, page
from isslim.compress.kinds.graphs.targets.decoding import decoded
from isslim.runtime.graphs.recorded_inputs import TARGET, GraphSession, NamedArrays

PACKAGE, FILE, OUTPUT = "legere", "legere/data/model.pt", "scores"
HEIGHT, STEP = 32, 4
"""Pixels: of a line, and of one step of the answer."""
LINES = 8
"""On a page."""
STRIDES = ((2, 2), (1, 1), (2, 1), (1, 1), (2, 1), (2, 1))
"""Of the blocks, in height and width; the weights do not tell."""


class LineReader(nn.Module):
    """The network of the package, with its names of weights.

    Args:
        weights: sizes are read from their shapes.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        width = len(weights["stem.0.weight"])
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        blocks = []
        for number, stride in enumerate(STRIDES):
            wider = len(weights[f"blocks.{number}.pointwise.weight"])
            blocks.append(Separable(width, wider, stride))
            width = wider
        self.blocks = nn.Sequential(*blocks)
        units = weights["rnn.weight_hh_l0"].shape[1]
        self.rnn = nn.GRU(width, units, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * units, len(weights["head.bias"]))

    def forward(self, images: Tensor) -> Tensor:
        """From (batch, 1, 32, pixels), -1 is black and 1 white, to (batch, steps, classes)."""
        read = self.blocks(self.stem(images)).squeeze(2).transpose(1, 2)
        scores: Tensor = self.head(self.rnn(read)[0])
        return scores


class Separable(nn.Module):
    """A convolution of each channel on its own, and one of all at every place.

    Args:
        width: channels read.
        wider: channels returned.
        stride: in height and width.
    """

    def __init__(self, width: int, wider: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pointwise = nn.Conv2d(width, wider, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wider)

    def forward(self, images: Tensor) -> Tensor:
        """From (batch, width, ...) to (batch, wider, ...)."""
        return torch.relu(self.bn2(self.pointwise(torch.relu(self.bn1(self.depthwise(images))))))


def written(weights: Path, graph: Path) -> None:
    """Writes the graph.

    Args:
        weights: `model.pt` of the package.
        graph: the file to write.
    """
    arrays = torch.load(weights, map_location="cpu", weights_only=True)["model"]
    module = LineReader(arrays)
    module.load_state_dict(arrays)
    free = {"images": ("batch", None, None, "pixels"), OUTPUT: ("batch", "steps", None)}
    export(module, (torch.zeros(1, 1, HEIGHT, 64),), graph, free)


def lines(speakers: Speakers, numbers: range) -> Streams:
    """Pictures of a line of text; the target are its characters.

    Args:
        speakers: not used.
        numbers: of the pages.
    """
    return [_page(number) for number in numbers]


@cache
def _page(number: int) -> list[NamedArrays]:
    classes, runs = _classes(), list[NamedArrays]()
    known = [each for each in english_lines() if set(each) <= classes.keys()]
    for index, text in enumerate(page(known, number, LINES)):
        picture = line(text, HEIGHT, LINES * number + index)
        whole = np.ones((HEIGHT, -(-picture.shape[1] // STEP) * STEP), np.float32)
        whole[:, : picture.shape[1]] = 2 * picture - 1
        target = np.array([classes[each] for each in text], np.int64)
        runs.append({"images": whole[None, None], f"{TARGET}{OUTPUT}": target})
    return runs


@cache
def _classes() -> dict[str, int]:
    """The class of every character: its place in the list of the checkpoint, after the blank."""
    found = torch.load(file_of(PACKAGE, FILE), map_location="cpu", weights_only=True)["charset"]
    return {character: number for number, character in enumerate(found, 1)}


def _score(graph: GraphSession, speakers: Speakers) -> float:
    """Wrong characters for 100 true ones."""
    streams = lines(speakers, range(SCORED_FROM, SCORED_FROM + 25))
    return error_rate(
        (decoded(output[0].argmax(-1), 0).tolist(), target.tolist())
        for stream in answers({}, graph, streams, OUTPUT)
        for output, target in stream
    )


MODELS = (
    Published(
        PACKAGE,
        FILE,
        lines,
        Task("character error rate, %", "lower", "the text in the pictures", _score),
        ("ctc_error_rate", EQUAL),
        # Sequences are its sample, and a thousand pictures a candidate would take too long.
        confident=False,
        written=written,
        blank=0,
        calibration=range(40),
        held_out=range(100, 115),
    ),
)
