"""The bundle's manifest: everything that a reader may rely on, as versioned pydantic models.

A manifest names data, never code. `store/__init__.py` specifies the bundle as a whole.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import AliasChoices, Field

from isslim.types.axis_names import is_units
from isslim.types.estimates import Estimate as Estimate
from isslim.types.kinds.registry import ArchitectureName, KindName, MetricName
from isslim.types.provenance import Provenance, Sha256
from isslim.types.recipe import Recipe, StrictModel
from isslim.types.states import StatesRecord
from isslim.types.text import TextContract as TextContract

Task = KindName
Architecture = ArchitectureName
Metric = MetricName
VariantName = Literal["original", "original-int8", "compressed", "compressed-int8"]
PRIMARY_SHAPE = (30, 1)
"""(steps, batch) of the usual primary latency, to which verdict and speed budget refer; always on
one thread."""


class FileRecord(StrictModel):
    """One file of the bundle, by its plain path relative to the bundle's folder."""

    path: str = Field(description="plain relative path", examples=["original.onnx"])
    size_bytes: int = Field(description="size of its content", ge=0, examples=[20631552])
    sha256: Sha256 = Field(description="SHA-256 of its content")


class AxisRecord(StrictModel):
    """One named axis: its number of components and the kept indices, ascending.

    An untied embedding is cut in a basis of its own (`Recipe.rotate_embedding`): its indices are
    columns of that basis.
    """

    name: str = Field(description="what it indexes", examples=["units:lstm0"])
    original: int = Field(description="components before", examples=[256])
    kept: int = Field(description="components left", examples=[194])
    kept_indices: list[int] = Field(description="which were kept, ascending", examples=[[0, 2, 3]])


class Ratio(StrictModel):
    """Another variant's time / this one's, with the 95 % interval of the median."""

    median: float = Field(description="how many times as fast as the other", examples=[1.4])
    low: float = Field(description="lower end of the 95 % interval", examples=[1.3])
    high: float = Field(description="upper end of the 95 % interval", examples=[1.5])


class LatencyRecord(StrictModel):
    """Median and tail of one variant at one shape, measured interleaved with the original.

    `speedup` is the median over pairs of original / this, with the 95 % interval of that median.
    """

    steps: int = Field(
        description="tokens of each sequence in one run; for a graph 1 where the names of its "
        "dimensions do not show it",
        examples=[30],
    )
    batch: int = Field(
        description="sequences in the batch; for a graph as for `steps`", examples=[1]
    )
    threads: int = Field(description="threads of one run", examples=[1])
    device: str = Field(description="where it ran", default="cpu", examples=["cpu"])
    median_ms: float = Field(description="median wall-clock time of one run", examples=[0.63])
    p90_ms: float = Field(
        description="90th percentile of the wall-clock time of one run", examples=[0.7]
    )
    speedup: float = Field(description="original / this, median over the rounds", examples=[4.1])
    speedup_low: float = Field(description="lower end of its 95 % interval", examples=[4.0])
    speedup_high: float = Field(description="upper end of its 95 % interval", examples=[4.2])
    against_int8: Ratio | None = Field(
        default=None,
        description="the same ratio to `original-int8`; null: it was not timed beside this one",
    )
    cpu_ms: float | None = Field(
        default=None,
        description="CPU time of the thread that ran one undisturbed run; null: not measured "
        "(a GPU, or several threads)",
        examples=[0.62],
    )
    basis: Literal["wall", "cpu"] = Field(
        default="wall",
        description="the clock on which the ratios are based: `cpu` where the host was busy",
        examples=["wall"],
    )
    steady: bool = Field(
        default=True,
        description="false: the ratios of single rounds vary too much for any figure to be "
        "relied on",
        examples=[True],
    )
    run: str | None = Field(
        default=None,
        description="for a graph: which run was timed, and the shapes of its inputs",
        examples=["the median recorded run (x: 1 x 20 x 16)"],
    )
    primary: bool = Field(
        default=False,
        validation_alias=AliasChoices("primary", "spoken"),  # its name in format 2
        description="the primary latency, which the verdict and a speed budget refer to",
        examples=[True],
    )

    @property
    def milliseconds(self) -> float:
        """Time of one run, by the clock on which the ratios are based."""
        return self.median_ms if self.basis == "wall" or self.cpu_ms is None else self.cpu_ms

    @property
    def over_original(self) -> Ratio | None:
        """The original's time / this one's; None where it was not measured steadily."""
        if not self.steady:
            return None
        return Ratio(median=self.speedup, low=self.speedup_low, high=self.speedup_high)

    @property
    def over_int8(self) -> Ratio | None:
        """The time of int8 alone / this one's; None where not timed beside it, or not steadily."""
        return self.against_int8 if self.steady else None


class PartRecord(StrictModel):
    """A part of a network, in the order of computation: its parameters and its multiply-adds.

    A matrix that two parts share is counted once, in the first. A look-up has no multiply-adds.
    """

    name: str = Field(description="for people", examples=["LSTM layer 1"])
    axis: str | None = Field(
        default=None,
        description="axis of its units, where they can be removed",
        examples=["units:lstm0"],
    )
    width: int = Field(description="its units; 0: it has none", examples=[225])
    directions: list[int] = Field(
        default=[],
        description="for a bidirectional layer: its forward and backward units",
        examples=[[72, 72]],
    )
    parameters: int = Field(description="biases included", examples=[252000])
    mult_adds: int = Field(description="per token or step", examples=[251100])


class Sized(StrictModel):
    """A model with a size on every prunable axis."""

    sizes: dict[str, int] = Field(
        description="components of every prunable axis; `rank:...` and `bottleneck` are the "
        "widths of narrow layers that were inserted, which the original has not",
        examples=[{"embedding": 54, "units:lstm0": 225, "rank:lstm0.recurrent": 60}],
    )

    @property
    def embedding(self) -> int | None:
        """Width of the embedding; None where it is no axis of its own."""
        return self.sizes.get("embedding")

    @property
    def units(self) -> list[int]:
        """Units of each recurrent layer."""
        return [size for axis, size in self.sizes.items() if is_units(axis)]


class VariantRecord(Sized):
    """One ONNX graph of the bundle, verified and measured."""

    name: VariantName = Field(description="name of the variant", examples=["compressed-int8"])
    file: str = Field(
        description="path of its graph in the bundle", examples=["compressed-int8.onnx"]
    )
    precision: Literal["float32", "int8"] = Field(
        description="precision of its weights", examples=["int8"]
    )
    eight_bit: list[str] = Field(
        default=[],
        description="parts whose weights are stored in 8 bits; `2 of 3 recurrent layers` "
        "means that one is not",
        examples=[["embedding", "recurrent layers", "softmax"]],
    )
    float32: list[str] = Field(
        default=[],
        description="in an int8 variant: parts whose weights are not stored in 8 bits",
        examples=[["convolution", "attention", "heads"]],
    )
    tied: bool = Field(default=False, description="the decoder is the embedding", examples=[False])
    size_bytes: int = Field(description="size of the file", examples=[2610000])
    parts: list[PartRecord] = Field(description="its parts with their parameters and multiply-adds")
    metrics: dict[str, float] = Field(
        description="metrics on the held-out data, through the runtime",
        examples=[{"perplexity": 33.2}],
    )
    loss: float = Field(
        description="how much worse than the original in the manifest's metric: a relative "
        "rise in perplexity, a fall in F1 in points, a change of outputs",
        examples=[0.044],
    )
    estimate: Estimate | None = Field(
        default=None,
        description="interval of `loss`; null: the original, or a figure without an interval",
    )
    states: StatesRecord | None = Field(
        default=None,
        description="for a graph that returns states; null: it does not, or this is the original",
    )
    int8_form: str | None = Field(
        default=None,
        description="how its weights are quantized to 8 bits; null: they are not",
        examples=["8 bits, a scale per column"],
    )
    latency: list[LatencyRecord] = Field(
        default=[], description="one record for each shape that was timed"
    )

    @property
    def parameters(self) -> int:
        """Parameters of all parts."""
        return sum(part.parameters for part in self.parts)

    @property
    def mult_adds(self) -> int:
        """Multiply-adds of all parts, per token or step."""
        return sum(part.mult_adds for part in self.parts)

    def latency_at(self, shape: tuple[int, int]) -> LatencyRecord:
        """Its latency at (steps, batch).

        Raises:
            ValueError: when it was not timed there.
        """
        for each in self.latency:
            if (each.steps, each.batch) == shape:
                return each
        raise ValueError(f"'{self.name}' was not timed at (steps, batch) = {shape}")

    @property
    def primary_latency(self) -> LatencyRecord:
        """The latency to which the verdict refers.

        Where no record is marked, that at `PRIMARY_SHAPE`, or else the first.

        Raises:
            ValueError: when it was not timed at all.
        """
        if marked := [each for each in self.latency if each.primary]:
            return marked[0]
        shapes = [(each.steps, each.batch) for each in self.latency]
        return self.latency_at(
            PRIMARY_SHAPE if PRIMARY_SHAPE in shapes or not shapes else shapes[0]
        )


class CheckRecord(StrictModel):
    """One verification that the bundle passed: the largest error found, and the tolerance."""

    name: str = Field(description="what was compared", examples=["pruned = masked reference"])
    detail: str = Field(
        description="the data on which it was compared",
        examples=["log-probabilities of 420 tokens, state carried over 3 runs"],
    )
    error: float = Field(description="largest difference found, nats", examples=[1.9e-6])
    tolerance: float = Field(description="bound that it had to stay below", examples=[1e-4])


class CurvePoint(Sized):
    """One model on the trade-off curve, before distillation."""

    removed_share: float = Field(
        description="share, 0 to 1, of the saving that removing every prunable component "
        "would give, by what sizes were chosen by (`allocation` of the report)",
        examples=[0.4],
    )
    parameters: int = Field(description="parameters of the network", examples=[2571596])
    mult_adds: int = Field(description="multiply-adds per token or step", examples=[2340000])
    value: float = Field(
        description="in the task's metric, by the search's quick estimate", examples=[33.4]
    )
    loss: float = Field(
        description="how much worse than the original, as for a variant", examples=[0.045]
    )
    estimate: Estimate | None = Field(
        default=None,
        description="interval of `loss`, from the quick estimate's sample; null: none can be given",
    )
    within_budget: bool = Field(
        description="whether this model, before distillation, is within the budget", examples=[True]
    )
    speedup: float | None = Field(
        default=None,
        description="original / this, one thread; timed for speed budgets",
        examples=[3.1],
    )
    chosen: bool = Field(default=False, description="the one that was published", examples=[False])
    correction: Literal["inputs", "means", "nothing"] = Field(
        default="inputs",
        description="what replaces the removed inputs: a linear combination of the kept "
        "inputs, means, or nothing; the best of them",
        examples=["inputs"],
    )


class EpochPoint(StrictModel):
    """One epoch of learning: its cost, and how many components were left."""

    round: int = Field(description="counted from 1", examples=[1])
    seconds: float = Field(description="seconds of its training steps", examples=[94.1])
    steps: int = Field(description="training steps; fewer where it ended early", examples=[1327])
    units: dict[str, int] = Field(
        description="components of every axis", examples=[{"units:lstm0": 400}]
    )
    training_value: float = Field(
        description="under dropout: perplexity, or for question answering the loss in nats "
        "per question",
        examples=[88.2],
    )
    held_out_value: float = Field(
        description="in the task's metric, by the quick estimate", examples=[101.3]
    )


class Manifest(StrictModel):
    """`manifest.json`: the head of a bundle."""

    format_version: Literal[2, 3] = Field(
        description="version of the format that the bundle was written in",
        default=3,
        examples=[3],
    )
    task: Task = Field(description="kind of model", examples=["language-model"])
    metric: Metric = Field(description="metric of `loss`", examples=["perplexity"])
    name: str = Field(description="name in its recipe", examples=["mine"])
    created_at: datetime = Field(description="when it was made", examples=["2026-11-24T12:00:00Z"])
    architecture: Architecture = Field(
        description="architecture of the networks", examples=["lstm-language-model"]
    )
    recipe: Recipe = Field(description="the recipe it was made with")
    text: TextContract | None = Field(
        default=None, description="how texts are read, for a language model"
    )
    axes: list[AxisRecord] = Field(description="the components kept on each axis")
    variants: list[VariantRecord] = Field(description="the graphs, the original first")
    checks: list[CheckRecord] = Field(description="the proofs that it passed")
    provenance: Provenance = Field(description="where it comes from")
    files: list[FileRecord] = Field(description="all files of the bundle except this one")

    @property
    def contract(self) -> TextContract:
        """How texts are read.

        Raises:
            ValueError: when this is no language model.
        """
        if self.text is None:
            raise ValueError(f"'{self.name}' is a {self.task}: it scores no text")
        return self.text

    def variant(self, name: str) -> VariantRecord | None:
        """The variant of that name; None: there is none."""
        return next((variant for variant in self.variants if variant.name == name), None)
