"""A toy that has all that an order of removal may be asked for: an embedding, units, a decoder.

The embedding can be rotated, and a bottleneck fits before the decoder, whose rows are many. Nothing
runs it: its activations are random, and its loss is the share of its parameters that is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from isslim.compress.contract import Quality
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Arrays, InputMatrix, NetworkAxes, PreActivation, Segment
from isslim.compress.pruning.blocks import declare_blocks, place_of, weight_of
from isslim.compress.pruning.moments import ActivationStatistics, Moments
from isslim.compress.pruning.narrow import BOTTLENECK, declare_narrow
from tests.compress.search.toy import Toy, ToyTask, ToyTrainer

WORDS, EMBEDDING, UNITS = 120, 10, 10


@dataclass(frozen=True)
class Speaker(Toy):
    """The network."""

    def declaration(self) -> NetworkAxes:
        words, embedded = (Segment(None, WORDS),), self.given["embedding.weight"].shape[1]
        embedding, units = (Segment("embedding", embedded),), (Segment("units", self.units),)
        plain = NetworkAxes(
            {"embedding": embedded, "units": self.units},
            {
                "embedding.weight": (words, embedding),
                "in": (units, embedding),
                "out": (words, units),
                "bias": (words,),
            },
            (
                PreActivation("layer", (InputMatrix("in", ("embedding",)),), None),
                PreActivation("decoder", (InputMatrix("out", ("units",)),), "bias"),
            ),
            {},
        )
        rows: list[int] = []
        while weight_of(len(rows)) in self.given:
            rows.append(len(self.given[weight_of(len(rows))]))
        if rows:
            plain = declare_blocks(plain, rows)
        for place in (BOTTLENECK, *map(place_of, range(len(rows)))):
            if place.weight in self.given:
                plain = declare_narrow(plain, place, len(self.given[place.weight]))
        return plain

    def rebuilt(self, arrays: Arrays) -> Speaker:
        return Speaker(dict(arrays))


def drawn() -> Speaker:
    """A random one, whose decoder has hardly more than three dimensions."""
    generator = np.random.default_rng(3)
    out = generator.normal(size=(WORDS, 3)) @ generator.normal(size=(3, UNITS))
    made = {
        "embedding.weight": generator.normal(size=(WORDS, EMBEDDING)),
        "in": generator.normal(size=(UNITS, EMBEDDING)),
        "out": out + 0.01 * generator.normal(size=(WORDS, UNITS)),
        "bias": generator.normal(size=WORDS),
    }
    return Speaker({name: array.astype(np.float32) for name, array in made.items()})


def observed(network: Toy) -> ActivationStatistics:
    """Correlated activations of its sites."""
    moments, declaration = {}, network.declaration()
    for site in declaration.sites:
        width = sum(part.size for part in declaration.parts(site))
        generator = np.random.default_rng(width)
        rows = generator.normal(size=(400, width)) @ generator.normal(size=(width, width))
        moments[site.name] = Moments.of(rows.astype(np.float32))
    return ActivationStatistics(moments, 400, np.ones(WORDS))


@dataclass
class SpeakerTask(ToyTask):
    """The kind."""

    timed: ClassVar[bool] = True
    may_narrow: bool = True
    equal: list[list[str]] = field(default_factory=list)

    def equal_axes(self) -> list[list[str]]:
        return self.equal

    def collect_activations(self, progress: ProgressCallback) -> ActivationStatistics:
        return observed(self.original)

    def evaluate(self, network: Toy) -> Quality:
        left = axes.parameters(network.declaration()) / axes.parameters(self.original.declaration())
        return Quality(100 * (2 - left), 1 - left)

    def export(self, network: Toy, path: Path) -> None:
        path.write_text(str(network.declaration().axes["embedding"]))

    def cost(self, work: Path, progress: ProgressCallback) -> Callable[[NetworkAxes], float] | None:
        return time_of


def time_of(declaration: NetworkAxes) -> float:
    """Of the embedding alone, as that of what is exported is."""
    return 1.0 + declaration.axes["embedding"]


class SpeakerTrainer(ToyTrainer):
    """Trains it."""

    def collect_activations(self, network: Toy) -> ActivationStatistics:
        return observed(network)
