"""A kind of model that is nothing but two matrices, so that searches take milliseconds.

`y = W_out tanh(W_in x) + b`, with H prunable units between. How good a network is follows from how
many units it has and from what stands in for the others, by a rule that the test gives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isslim.compress.contract import EightBit, ModelTask, Origin, Quality
from isslim.compress.errors import TrainingDiverged
from isslim.compress.export.quantize import Form
from isslim.compress.progress import Progress, ProgressCallback
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import (
    Array,
    Arrays,
    InputMatrix,
    NarrowPlace,
    NetworkAxes,
    PreActivation,
    Segment,
)
from isslim.compress.pruning.moments import ActivationStatistics, Moments
from isslim.compress.pruning.ranking import Pruned, RemovalPlan, rank_components
from isslim.compress.pruning.repair import Correction
from isslim.compress.training.stages import Tuned
from isslim.compress.training.trainer import Trainer, TrainingResult
from isslim.runtime.graphs.shapes import Shape
from isslim.types.manifest import (
    CheckRecord,
    CurvePoint,
    EpochPoint,
    Estimate,
    LatencyRecord,
    PartRecord,
)
from isslim.types.recipe import Recipe

INPUTS, OUTPUTS, UNITS = 5, 10, 20
A_UNIT = INPUTS + OUTPUTS
"""Weights of one unit."""
MIN_KEPT = 4
"""Of the order of removal: 16 of 20 units may go."""


@dataclass(frozen=True)
class Toy:
    """The network."""

    given: Mapping[str, Array]
    architecture: Literal["lstm"] = "lstm"

    def arrays(self) -> dict[str, Array]:
        return {name: array.copy() for name, array in self.given.items()}

    def declaration(self) -> NetworkAxes:
        units, out = (Segment("units", len(self.given["in"])),), (Segment(None, OUTPUTS),)
        return NetworkAxes(
            {"units": len(self.given["in"])},
            {"in": (units, (Segment(None, INPUTS),)), "out": (out, units), "bias": (out,)},
            (PreActivation("out", (InputMatrix("out", ("units",)),), "bias"),),
            {},
        )

    def narrow_places(self) -> tuple[NarrowPlace, ...]:
        return ()

    def rebuilt(self, arrays: Arrays) -> Toy:
        return Toy(dict(arrays))

    @property
    def units(self) -> int:
        return len(self.given["in"])


def drawn(units: int = UNITS, seed: int = 0) -> Toy:
    """A random one."""
    generator = np.random.default_rng(seed)
    shapes = {"in": (units, INPUTS), "out": (OUTPUTS, units), "bias": (OUTPUTS,)}
    return Toy(
        {name: generator.normal(size=each).astype(np.float32) for name, each in shapes.items()}
    )


def hidden(network: Toy, rows: int = 400, seed: int = 1) -> NDArray[np.float32]:
    """Its units over random inputs (N, H)."""
    inputs = np.random.default_rng(seed).normal(0.3, 1.0, (rows, INPUTS)).astype(np.float32)
    return np.tanh(inputs @ network.given["in"].T)


def observed(network: Toy) -> ActivationStatistics:
    rows = hidden(network)
    return ActivationStatistics({"out": Moments.of(rows)}, len(rows))


Rule = Callable[[int, Correction], float]
"""From the units that are left and what stands in for the others to the loss."""


ORIGIN = Origin("a toy", "calibration data", "held-out data")


@dataclass
class ToyTask(ModelTask[Toy]):
    """The kind. What it was asked for is kept: judged networks, verified cuts, timed files."""

    original: Toy  # type: ignore[misc]
    recipe: Recipe  # type: ignore[misc]
    rule: Rule
    width: float = 0.0
    count: int = 5000
    sure: float = 0.9
    by_calibration: Callable[[Toy], float] | None = None
    calibrated_in: float = 0.0
    ends_in: float = math.inf
    bonus: Callable[[Toy], float] = lambda network: 0.0
    costly: bool = False
    origin: Origin = ORIGIN  # type: ignore[misc]
    task = "language-model"
    metric = "perplexity"  # type: ignore[misc]
    usual_shapes = (Shape(30, 1),)  # type: ignore[misc]
    judged: list[tuple[int, Correction]] = field(default_factory=list)
    verified: list[tuple[Toy, Pruned]] = field(default_factory=list)
    exported: list[tuple[int, str]] = field(default_factory=list)
    tuned: list[tuple[int, float]] = field(default_factory=list)
    won: float = 0.0
    ended: str = ""
    priced: list[Path] = field(default_factory=list)

    def collect_activations(self, progress: ProgressCallback) -> ActivationStatistics:
        progress(0.5, "observed")
        return observed(self.original)

    def stands_in(self, network: Toy) -> Correction:
        """Read from the arrays: columns that were changed, a bias alone, or neither."""
        columns = {tuple(each) for each in self.original.given["out"].T}
        if not all(tuple(each) in columns for each in network.given["out"].T):
            return "inputs"
        same = np.array_equal(network.given["bias"], self.original.given["bias"])
        return "nothing" if same and network.units < self.original.units else "means"

    def evaluate(self, network: Toy) -> Quality:
        correction: Correction = "inputs"
        if network.units < self.original.units:
            correction = self.stands_in(network)
        self.judged.append((network.units, correction))
        loss = self.rule(network.units, correction) - self.bonus(network)
        loss *= 1 - self.won if is_trained(network) else 1.0
        estimate = Estimate(
            low=loss - self.width,
            high=loss + self.width,
            count=self.count,
            unit="tokens",
            method="block bootstrap",
        )
        return Quality(100 * (1 + loss), loss, estimate)

    def calibration_loss(self, network: Toy) -> float | None:
        return None if self.by_calibration is None else self.by_calibration(network)

    def calibration_seconds(self) -> float | None:
        return None if self.by_calibration is None else self.calibrated_in

    @property
    def trained_by(self) -> float:
        """`ends_in` seconds from now."""
        return time.monotonic() + self.ends_in

    def verify_removal(self, before: Toy, pruned: Pruned) -> CheckRecord:
        self.verified.append((before, pruned))
        return CheckRecord(name="cut", detail=f"{len(self.verified)}", error=0.0, tolerance=1e-4)

    def export(self, network: Toy, path: Path) -> None:
        self.exported.append((network.units, path.name))
        path.write_text(str(network.units))

    def compare(
        self, paths: Mapping[str, Path], shape: Shape, pairs: int | None = None
    ) -> dict[str, LatencyRecord]:
        assert (shape, pairs) == (Shape(30, 1), 9)
        units = {name: int(path.read_text()) for name, path in paths.items()}
        return {
            name: LatencyRecord(
                steps=30,
                batch=1,
                threads=1,
                median_ms=1.0,
                p90_ms=1.0,
                speedup=units["original"] / each,
                speedup_low=self.sure * units["original"] / each,
                speedup_high=2 * units["original"] / each,
            )
            for name, each in units.items()
        }

    def cost(self, work: Path, progress: ProgressCallback) -> Callable[[NetworkAxes], float] | None:
        self.priced.append(work)
        progress(0.5, "timing")
        return lambda declaration: 1.0 + declaration.axes["units"]

    @property
    def minutes(self) -> float:
        """Of the recipe; none by default, since most of the tests are of closed forms."""
        return self.recipe.minutes or 0.0

    def finetune(
        self,
        network: Toy,
        minutes: float,
        folder: Path,
        progress: ProgressCallback,
        most_minutes: float | None = None,
    ) -> Tuned[Toy]:
        """Marks the network; `won` says what that is worth."""
        self.tuned.append((network.units, minutes))
        progress(1.0, "tuned")
        return Tuned(trained(network), minutes, (2.0, 1.0), self.ended)

    def verify_export(self, path: Path, network: Toy, name: str) -> CheckRecord:
        raise NotImplementedError

    def quantize(self, network: Toy, source: Path, target: Path, form: Form) -> EightBit:
        raise NotImplementedError

    def quick_loss(self, path: Path) -> float | None:
        raise NotImplementedError

    def measure(self, path: Path) -> dict[str, float]:
        raise NotImplementedError

    def loss(self, metrics: Mapping[str, float], original: Mapping[str, float]) -> float:
        raise NotImplementedError

    def parts(self, declaration: NetworkAxes) -> list[PartRecord]:
        raise NotImplementedError

    def save_companions(self, folder: Path) -> None:
        raise NotImplementedError


MARK = 100.0
"""Added to a bias by a training, so that a rule can tell who was trained."""


def epoch(round_: int, network: Toy, value: float) -> EpochPoint:
    """The record of one epoch."""
    return EpochPoint(
        round=round_,
        seconds=1.0,
        steps=1,
        units={"units": network.units},
        training_value=value,
        held_out_value=value,
    )


def trained(network: Toy, times: float = 1) -> Toy:
    """The network with its mark."""
    return Toy({**network.given, "bias": network.given["bias"] + np.float32(MARK * times)})


def is_trained(network: Toy) -> bool:
    """Whether it has the mark."""
    return float(network.given["bias"].max()) > MARK / 2


@dataclass
class ToyTrainer(Trainer[Toy]):
    """Marks what it trains. A learner takes the first units away, as many as it is asked for."""

    diverges: Callable[[int], bool] = lambda round_: False
    slack = 0.1  # type: ignore[misc]
    distilled: list[tuple[int, float, int, str]] = field(default_factory=list)
    learnt: list[tuple[int, float, float, int, str]] = field(default_factory=list)

    @property
    def data_description(self) -> str:
        return "a toy text"

    def fresh(self) -> Toy:
        return drawn(seed=9)

    def collect_activations(self, network: Toy) -> ActivationStatistics:
        return observed(network)

    def distil(
        self, network: Toy, epochs: float, round_: int, checkpoint: Path, progress: ProgressCallback
    ) -> TrainingResult[Toy]:
        self.distilled.append((network.units, epochs, round_, checkpoint.name))
        progress(0.5, "distilling")
        if self.diverges(round_):
            raise TrainingDiverged("too fast", best=None)
        return TrainingResult(trained(network), [epoch(round_ + 1, network, 1.0)])

    def learn(
        self,
        network: Toy,
        share: float,
        epochs: float,
        round_: int,
        checkpoint: Path,
        progress: ProgressCallback,
    ) -> TrainingResult[Toy]:
        self.learnt.append((network.units, share, epochs, round_, checkpoint.name))
        left = np.arange(round(share * network.units), network.units)
        small, _ = axes.select_components(network.arrays(), network.declaration(), {"units": left})
        return TrainingResult(Toy(small), [epoch(round_ + 1, network, 2.0)], {"units": left})


def plan_of(network: Toy) -> RemovalPlan:
    return rank_components(
        network.arrays(), network.declaration(), observed(network), prunable=["units"]
    )


def by_units(slope: float, floor: float = 0.0, **weaker: float) -> Rule:
    """So much loss for each unit that is gone; other corrections lose so much more (or less)."""

    def rule(units: int, correction: Correction) -> float:
        return floor + slope * (UNITS - units) + weaker.get(correction, 0.0)

    return rule


def parameters(units: int) -> int:
    """Of a toy with so many units."""
    return A_UNIT * units + OUTPUTS


@dataclass
class Stages(Progress):
    """A report that is kept."""

    entered: list[tuple[str, str]] = field(default_factory=list)
    told: list[tuple[float, str]] = field(default_factory=list)
    points: list[CurvePoint] = field(default_factory=list)
    epochs: list[EpochPoint] = field(default_factory=list)

    def enter(self, stage: str, message: str) -> None:
        self.entered.append((stage, message))

    def __call__(self, done: float, message: str) -> None:
        self.told.append((done, message))

    def on_point(self, point: CurvePoint) -> None:
        self.points.append(point)

    def on_epoch(self, epoch: EpochPoint) -> None:
        self.epochs.append(epoch)


assert axes.parameters(drawn().declaration()) == parameters(UNITS)
