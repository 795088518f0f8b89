"""The interface between the stages of a job and a kind of model.

A new kind implements `ModelTask` and registers itself in `kinds/registry.py`.

A task holds the uploaded model and the data on which it is evaluated. It provides the stages with
moments, a quick evaluation of a candidate, proofs and measurements; the nature of tokens, answers
and inputs is its own.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic

from isslim.compress.errors import ModeUnavailable
from isslim.compress.export.int8_forms import EightBit, Form
from isslim.compress.origin import Origin as Origin
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Keep, NarrowPlace, NetworkAxes
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.pruning.network import Model
from isslim.compress.trainable import Trainable
from isslim.compress.weights import ReturnsWeights
from isslim.runtime.shape import OPTIMIZED, Shape
from isslim.types.inspection import CheckResult, LayerRecord
from isslim.types.kinds.uploads import UploadFields
from isslim.types.manifest import (
    CheckRecord,
    CurvePoint,
    EpochPoint,
    Estimate,
    LatencyRecord,
    Metric,
    PartRecord,
    TextContract,
    VariantName,
)
from isslim.types.report import AllocationRecord, Sample
from isslim.types.states import StatesRecord

if TYPE_CHECKING:
    from isslim.compress.pruning.ranking import Pruned


@dataclass(frozen=True)
class Quality:
    """How good a model is.

    Attributes:
        value: in the task's metric.
        loss: how much worse than the original, in the terms of the budget.
        estimate: sample size and interval of the loss; None where none can be given.
    """

    value: float
    loss: float
    estimate: Estimate | None = None


@dataclass(frozen=True)
class ProbeScale:
    """What `ModelTask.probe_loss` is counted in.

    Attributes:
        unit: behind a number.
        noise: a difference that is none.
    """

    unit: str
    noise: float


NATS = ProbeScale("nats", 2e-3)


@dataclass(frozen=True)
class Published:
    """How a candidate fared in the measurements that would be published.

    Attributes:
        kept: whether its float32 form is within the budget.
        missed: whether only its int8 form exceeds the budget, though the original's int8 form does
            not.
        loss: what was compared with a quality budget (`isslim.types.quality.compared_loss`): the
            loss of the float32 form or, where only int8 missed the budget, of the int8 form. None
            for budgets of size and speed.
    """

    kept: bool
    missed: bool
    loss: float | None


@dataclass(frozen=True)
class Candidate(Generic[Model]):
    """A smaller network, verified against the network that it was cut from.

    Attributes:
        network: in evaluation mode.
        kept: per axis the indices (K,) of the original's components that are left, ascending.
        checks: the verifications of its cuts.
        curve: every size that was tried.
        description: what training did, in one line; None without training.
        epochs: the epochs of learn mode.
        cautions: reservations about the calibration data, for the report.
        allocation: how the sizes were chosen; None: by the closed form's own costs.
    """

    network: Model
    kept: Keep
    checks: list[CheckRecord]
    curve: list[CurvePoint]
    description: str | None = None
    epochs: list[EpochPoint] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    allocation: AllocationRecord | None = None


class ModelTask(ReturnsWeights[Model], Trainable[Model]):
    """An uploaded model, the data it is evaluated on, and everything that can be done with both.

    Attributes:
        task: the kind's name in the manifest.
        usual_shapes: shapes at which latency is published by default; the one that the recipe's
            `optimize` is about, if it is among them, or else the first, is the primary shape.
        original: the uploaded model.
        recipe: the recipe, with the budget resolved.
        metric: the metric of the quality budget.
        text: how texts are tokenized; None for kinds that read no text.
        evaluation: the operator's evaluation command in one line; None where held-out data is used.
        costly: whether one evaluation is so expensive that needless ones must be avoided.
        may_narrow: whether a bottleneck may be inserted before the decoder.
        timed: whether `cost` can time its networks; otherwise multiply-adds stand for time.
        probe_scale: what `probe_loss` is counted in.
        origin: where model and data come from.
        original_as_sent: whether the original's graph is the file that was sent, without notes.
    """

    original_as_sent: ClassVar[bool] = False
    usual_shapes: tuple[Shape, ...]
    original: Model
    metric: Metric
    text: TextContract | None = None
    costly: bool = False
    may_narrow: bool = False
    timed: ClassVar[bool] = False
    probe_scale: ClassVar[ProbeScale] = NATS
    origin: Origin

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shapes at which latency is published: those of the recipe, or the usual ones."""
        return (
            tuple(Shape(each.steps, each.batch) for each in self.recipe.shapes) or self.usual_shapes
        )

    @property
    def primary_shape(self) -> Shape:
        """The shape of the primary latency, which a speed budget applies to."""
        usual = OPTIMIZED[self.recipe.optimize]
        return usual if not self.recipe.shapes and usual in self.shapes else self.shapes[0]

    @property
    def optimized_shape(self) -> Shape:
        """The run whose time sizes are chosen for; under a speed budget the primary one."""
        if self.recipe.budget.speedup is not None:
            return self.primary_shape
        return OPTIMIZED[self.recipe.optimize]

    @property
    def evaluation(self) -> str | None:
        """The operator's evaluation command in one line; None where held-out data is used."""
        return None

    @abstractmethod
    def collect_activations(self, progress: ProgressCallback) -> ActivationStatistics:
        """Runs the original on the calibration data and collects the moments of its activations.

        Args:
            progress: called with the share done and a message.
        """

    @abstractmethod
    def evaluate(self, network: Model) -> Quality:
        """Quick estimate on held-out data, made in the same way for original and candidates."""

    def calibration_loss(self, network: Model) -> float | None:
        """Loss on the calibration data, for choosing what to remove; None where not available.

        The choice is fitted to it, so it is never published as a figure of quality.
        """
        return None

    def calibration_seconds(self) -> float | None:
        """About the CPU time of one `calibration_loss`; None where that is not available."""
        return None

    def probe_loss(self, network: Model) -> float | None:
        """What a network loses, to choose the sizes of its axes, in the terms of `probe_scale`.

        Small losses of this kind add up over axes, as those of log-loss and squared errors do, and
        those of other metrics do not.

        Returns:
            Above the original's loss on a short piece of data, about 0 for the original itself;
            None where the task has no such loss: sizes are then chosen by the closed form's own
            costs.
        """
        return None

    def probe_limit(self, limit: float) -> float:
        """About how much of `probe_loss` a limit of the metric's loss allows."""
        return math.log1p(limit)

    @abstractmethod
    def verify_removal(self, before: Model, pruned: Pruned) -> CheckRecord:
        """Compares the pruned network with the original whose removed components are held at zero.

        Args:
            before: the network that was pruned.
            pruned: what was removed, and the arrays of both networks.

        Raises:
            VerificationFailed: when an output differs by more than the tolerance.
        """

    @abstractmethod
    def export(self, network: Model, path: Path) -> None:
        """Writes a network as an ONNX graph in float32.

        Args:
            network: the original or a candidate.
            path: the file to write.
        """

    @abstractmethod
    def verify_export(self, path: Path, network: Model, name: str) -> CheckRecord:
        """Compares a float32 graph in ONNX Runtime with the network that it was exported from.

        Args:
            path: the graph.
            network: what it was exported from.
            name: the variant, for the record.

        Raises:
            VerificationFailed: when an output differs by more than the tolerance.
        """

    @abstractmethod
    def quantize(self, network: Model, source: Path, target: Path, form: Form) -> EightBit:
        """Writes the int8 form of a network.

        Args:
            network: the original or a candidate; both are quantized by the same code.
            source: its float32 graph, as `export` wrote it.
            target: the file to write; not written where nothing can be quantized.
            form: how weights are quantized.
        """

    @abstractmethod
    def quick_loss(self, path: Path) -> float | None:
        """Quick score of a graph in the runtime, to compare graphs of one network.

        Returns:
            A score of which lower is better; the difference of two scores is a difference of loss,
            in the terms of the budget. None where even that would take too long.
        """

    @abstractmethod
    def measure(self, path: Path) -> dict[str, float]:
        """Metrics of a graph on the held-out data, computed by the code that the service uses."""

    @abstractmethod
    def loss(self, metrics: Mapping[str, float], original: Mapping[str, float]) -> float:
        """How much worse measured metrics are than the original's, in the terms of the budget.

        Args:
            metrics: of a variant.
            original: of the original.
        """

    def estimate(self, path: Path, original: Path) -> Estimate | None:
        """Sample size and 95 % interval of a measured graph's loss; None where there is none.

        Args:
            path: the graph.
            original: the original's graph.
        """
        return None

    def states(self, path: Path) -> StatesRecord | None:
        """How the states that a graph returns compare with the original's; None without states."""
        return None

    @abstractmethod
    def compare(
        self, paths: Mapping[str, Path], shape: Shape, pairs: int | None = None
    ) -> dict[str, LatencyRecord]:
        """Times graphs on one thread, each interleaved with the one named `original`.

        Args:
            paths: graphs by variant name.
            shape: steps and batch of a run.
            pairs: how many pairs of runs; None: as many as the clock needs.
        """

    @abstractmethod
    def parts(self, declaration: NetworkAxes) -> list[PartRecord]:
        """How parameters and multiply-adds divide over the parts of a network of these sizes."""

    @abstractmethod
    def save_companions(self, folder: Path) -> None:
        """Writes what the service needs beside the graphs, such as the tokenizer."""

    def parameters(self, declaration: NetworkAxes) -> int:
        """Number of parameters of a network of these sizes."""
        return axes.parameters(declaration)

    def layers(self) -> list[LayerRecord]:
        """The axes of the original, and which of them the recipe lets shrink."""
        declaration = self.original.declaration()
        shrinking = self.prunable(declaration)
        return [
            LayerRecord(name=axis, size=size, may_shrink=axis in shrinking)
            for axis, size in declaration.axes.items()
        ]

    def notes(self) -> list[str]:
        """Notes for the report: parts that were left alone, and why."""
        return []

    def run_checks(self, files: UploadFields[Path]) -> list[CheckResult]:
        """Compares the original with what the sender measured of it: `check` and `check_graph`.

        Raises:
            CheckFailed, CheckUnusable, ModeUnavailable: it differs; cannot be done; not this kind.
        """
        raise ModeUnavailable(f"`check` and `check_graph` do not apply to a {self.task} model")

    def samples(self, paths: Mapping[VariantName, Path]) -> list[Sample]:
        """Answers of graphs to a few held-out inputs, computed by the code that the service uses.

        Args:
            paths: graphs by variant, in the order of the answers.

        Returns:
            An empty list for kinds whose outputs are not meant to be read by people.
        """
        return []

    def is_tied(self, declaration: NetworkAxes) -> bool:
        """Whether embedding and decoder share one matrix."""
        return False

    def prunable(self, declaration: NetworkAxes) -> list[str]:
        """The axes that may shrink."""
        return list(declaration.axes)

    def narrow_places(self, network: Model) -> tuple[NarrowPlace, ...]:
        """Where narrow layers may be put into a network, but for those before its decoder."""
        return network.narrow_places()

    def multiplied_out(self, network: Model) -> Model | None:
        """The same function without narrow layers; None: it has none, or `cost` chose them."""
        return None

    def work(self, declaration: NetworkAxes) -> float:
        """Multiply-adds of a network of these sizes, as they stand for time where it is unknown."""
        return axes.mult_adds(declaration)

    def cost(self, work: Path, progress: ProgressCallback) -> Callable[[NetworkAxes], float] | None:
        """The time of a network of any sizes, as it will be served; None: it cannot be told.

        It is that of `optimized_shape`, of the form in which the task is served fastest; under a
        speed budget, which is about float32, of that.

        Args:
            work: the job's folder.
            progress: called with the share done and a message.
        """
        return None
