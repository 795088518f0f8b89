"""What a kind of model gives to the stages. A new kind implements this class and is chosen in `kinds/registry.py`.

A task holds the uploaded model and the data it is judged on. The stages ask it for moments, for a
quick judgement of a candidate, for its proofs and its measurements; what a token, an answer or an
input is stays inside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from isslim.compress.errors import ModeUnavailable
from isslim.compress.export.quantize import EightBit, Form
from isslim.compress.ingest.reading import IngestReport
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Keep, NetworkAxes
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.pruning.network import Network
from isslim.runtime.graphs.shapes import Shape
from isslim.types.inspection import LayerRecord
from isslim.types.manifest import (
    PRIMARY_SHAPE,
    CheckRecord,
    CurvePoint,
    EpochPoint,
    Estimate,
    LatencyRecord,
    Metric,
    PartRecord,
    Task,
    TextContract,
    VariantName,
)
from isslim.types.recipe import Recipe
from isslim.types.report import Sample
from isslim.types.states import StatesRecord

if TYPE_CHECKING:
    from isslim.compress.pruning.ranking import Pruned

Model = TypeVar("Model", bound=Network)
ProgressCallback = Callable[[float, str], None]


class StageReport(Protocol):
    """The pipeline's view of progress."""

    def enter(self, name: str, message: str) -> None:
        """Begins a stage."""

    def progress(self, done: float, message: str) -> None:
        """Progress inside it."""


@dataclass(frozen=True)
class Quality:
    """A model's value in the task's metric, how much worse than the original it is, and how sure that is."""

    value: float
    loss: float
    estimate: Estimate | None = None


@dataclass(frozen=True)
class Origin:
    """Where a task's model and data come from, a line each.

    Attributes:
        layout: how the upload was read, what was dropped and what was assumed included.
        random: the data was drawn: what the model does on real data was never looked at.
        dropped: what the file holds and the model does not use, by name.
        assumed: what the file cannot show and was taken for granted.
        not_judged: why no figure of quality stands on data that was not observed; None: it does.
        judged_by: see `Provenance.judged_by`.
        left_out: data that is not used, and why, a line each.
        warnings: what else a verdict has to say of how it was judged.
    """

    layout: str
    calibration: str
    held_out: str
    random: bool = False
    dropped: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    not_judged: str | None = None
    judged_by: Mapping[str, int | None] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def read(
        cls, reading: IngestReport, calibration: str, held_out: str, warnings: tuple[str, ...] = ()
    ) -> Origin:
        """The origin of a checkpoint that was read in this way."""
        return cls(
            reading.line,
            calibration,
            held_out,
            dropped=reading.dropped,
            assumed=reading.assumed,
            warnings=warnings,
        )


@dataclass(frozen=True)
class Published:
    """What became of a candidate by the figures that are published.

    Attributes:
        kept: whether its float32 form keeps to the budget.
        missed: whether its int8 form alone does not, though the original's would.
        loss: of a budget of quality, what was compared with it (`isslim.types.quality.compared_loss`): of
            the float32 form, or where only the int8 form missed the budget of that; None of other
            budgets.
    """

    kept: bool
    missed: bool
    loss: float | None


@dataclass(frozen=True)
class Candidate(Generic[Model]):
    """A smaller network, proven equal to what it was cut from.

    Attributes:
        network: in evaluation mode.
        kept: per axis, which of the original's components it has, ascending.
        checks: the proofs of its cuts.
        curve: everything that was tried on the way.
        description: what training did, in a line; None without any.
        epochs: of learning.
        cautions: what the report should say of the data that it was cut by.
    """

    network: Model
    kept: Keep
    checks: list[CheckRecord]
    curve: list[CurvePoint]
    description: str | None = None
    epochs: list[EpochPoint] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)


class ModelTask(ABC, Generic[Model]):
    """An uploaded model, the data it is judged on, and everything that can be done with both.

    Attributes:
        task: what the manifest calls it.
        usual_shapes: of the published latencies, the primary one first, or `PRIMARY_SHAPE`.
        original: the uploaded model.
        recipe: what is asked for; its budget is settled.
        metric: what a loss is about.
        text: how texts are read; of a language model.
        evaluation: the operator's command that judges, in a line; None: the held-out data does.
        costly: whether a judgement takes so long that none should be asked for in vain.
        may_narrow: whether the original can have a bottleneck before its decoder.
    """

    task: ClassVar[Task]
    usual_shapes: tuple[Shape, ...]
    original: Model
    recipe: Recipe
    metric: Metric
    text: TextContract | None = None
    costly: bool = False
    may_narrow: bool = False
    origin: Origin

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of the latencies that are published: those that the recipe names, or the usual ones."""
        return (
            tuple(Shape(each.steps, each.batch) for each in self.recipe.shapes) or self.usual_shapes
        )

    @property
    def primary_shape(self) -> Shape:
        """Of the latency that is spoken of, and that a speed budget is about."""
        usual = Shape(*PRIMARY_SHAPE)
        return usual if not self.recipe.shapes and usual in self.shapes else self.shapes[0]

    @property
    def evaluation(self) -> str | None:
        """See the class."""
        return None

    @abstractmethod
    def collect_activations(self, progress: ProgressCallback) -> ActivationStatistics:
        """What calibration data says of the original."""

    @abstractmethod
    def evaluate(self, network: Model) -> Quality:
        """A quick estimate on the held-out data, the same for original and candidates."""

    def calibration_loss(self, network: Model) -> float | None:
        """How much worse than the original on the calibration data; None where that is not judged.

        For choosing what to remove: it is fitted to by that, and no figure of quality.
        """
        return None

    @abstractmethod
    def verify_removal(self, before: Model, pruned: Pruned) -> CheckRecord:
        """The pruned network against the network before it with the removed components held at zero.

        Raises:
            VerificationFailed: when an output differs by more than the tolerance.
        """

    @abstractmethod
    def export(self, network: Model, path: Path) -> None:
        """Writes a network as an ONNX graph in float32."""

    @abstractmethod
    def verify_export(self, path: Path, network: Model, name: str) -> CheckRecord:
        """A float32 graph in ONNX Runtime against the network that it was made of.

        Raises:
            VerificationFailed: when an output differs by more than the tolerance.
        """

    @abstractmethod
    def quantize(self, network: Model, source: Path, target: Path, form: Form) -> EightBit:
        """Writes an int8 form of a network.

        Args:
            network: the original or a candidate; both are prepared by the same code.
            source: its float32 graph, as `export` wrote it.
            target: the file to write; none where nothing takes 8 bits.
            form: how weights do.
        """

    @abstractmethod
    def glance(self, path: Path) -> float | None:
        """A quick look at a graph through the runtime, to compare graphs of one network.

        Returns:
            A number of which less is better: the difference of two is what one graph loses more
            than the other, in the terms of the budget. None where even that would take too long.
        """

    @abstractmethod
    def measure(self, path: Path) -> dict[str, float]:
        """Metrics of a graph on the held-out data, through the code that the service answers with."""

    @abstractmethod
    def loss(self, metrics: Mapping[str, float], original: Mapping[str, float]) -> float:
        """How much worse measured metrics are than the original's, in the budget's terms."""

    def estimate(self, path: Path, original: Path) -> Estimate | None:
        """How sure the loss of a measured graph is; None where no interval can be told."""
        return None

    def states(self, path: Path) -> StatesRecord | None:
        """What becomes of the states that a graph gives back; None where it gives none."""
        return None

    @abstractmethod
    def compare(
        self, paths: Mapping[str, Path], shape: Shape, pairs: int | None = None
    ) -> dict[str, LatencyRecord]:
        """Times graphs at a shape on one thread, interleaved with the one called `original`."""

    @abstractmethod
    def parts(self, declaration: NetworkAxes) -> list[PartRecord]:
        """Where the parameters and the work of a network of these sizes are."""

    @abstractmethod
    def save_companions(self, folder: Path) -> None:
        """Writes what the service needs beside the graphs, such as the tokenizer."""

    def parameters(self, declaration: NetworkAxes) -> int:
        """How many parameters a network of these sizes has."""
        return axes.parameters(declaration)

    def layers(self) -> list[LayerRecord]:
        """The original's groups of components, and which of them the recipe lets shrink."""
        declaration = self.original.declaration()
        shrinking = self.prunable(declaration)
        return [
            LayerRecord(name=axis, size=size, may_shrink=axis in shrinking)
            for axis, size in declaration.axes.items()
        ]

    def notes(self) -> list[str]:
        """What the report should say besides: parts that were left alone, and why."""
        return []

    def samples(self, paths: Mapping[VariantName, Path]) -> list[Sample]:
        """What graphs answer to a few of the held-out inputs, through the code that the service answers with.

        Args:
            paths: the graphs, in the order of the answers.

        Returns:
            Nothing where answers are not for people to read.
        """
        return []

    def is_tied(self, declaration: NetworkAxes) -> bool:
        """Whether output and input share one matrix."""
        return False

    def prunable(self, declaration: NetworkAxes) -> list[str]:
        """The axes that may shrink."""
        return list(declaration.axes)

    def cost(self, work: Path, progress: ProgressCallback) -> Callable[[NetworkAxes], float] | None:
        """What a speed budget values removals by; None: by multiply-adds."""
        return None

    def finetune(
        self, network: Model, folder: Path, progress: ProgressCallback
    ) -> tuple[Model, str]:
        """Distils the original into a small network for the recipe's minutes; returns it and what happened in a line.

        Raises:
            ModeUnavailable: when this kind of model is not trained here.
        """
        raise ModeUnavailable(f"a {self.task} cannot be fine-tuned: leave `finetune_minutes` out")

    def trainer(self) -> Trainer[Model]:
        """What the rounds of learn mode train with, on data of the user's.

        Raises:
            ModeUnavailable: when this kind of model is not trained here.
            TextUnusable: when no data to train on was sent.
        """
        raise ModeUnavailable(
            f"a {self.task} cannot be compressed by learning: ask for the mode `calibrate`"
        )


@dataclass(frozen=True)
class TrainingResult(Generic[Model]):
    """A trained network, its epochs, and per axis that lost components which of the given network's are left."""

    network: Model
    epochs: list[EpochPoint]
    kept: Keep = field(default_factory=dict)


class Trainer(ABC, Generic[Model]):
    """Trains copies of networks for the rounds of learn mode.

    Attributes:
        slack: loss above the budget that a bold first cut may have before it is distilled.
    """

    slack: ClassVar[float]

    @property
    @abstractmethod
    def data_description(self) -> str:
        """How much data there is to train on, in words."""

    @abstractmethod
    def fresh(self) -> Model:
        """The original's architecture and sizes with random weights, for a learner that begins at nothing."""

    @abstractmethod
    def collect_activations(self, network: Model) -> ActivationStatistics:
        """Moments over the training data, as much of it as calibration takes."""

    @abstractmethod
    def distil(
        self,
        network: Model,
        epochs: float,
        round_: int,
        checkpoint: Path,
        progress: ProgressCallback,
    ) -> TrainingResult[Model]:
        """Trains a copy with the original as teacher; resumed from the checkpoint if it is there.

        Raises:
            FloatingPointError: when it diverges.
        """

    @abstractmethod
    def learn(
        self,
        network: Model,
        share: float,
        epochs: float,
        round_: int,
        checkpoint: Path,
        progress: ProgressCallback,
    ) -> TrainingResult[Model]:
        """Trains a copy with the recipe's learner, which takes `share` of the components away.

        Raises:
            FloatingPointError: when it diverges.
            ModeUnavailable: when the learner is not one of such networks.
        """
