"""The bundle's manifest and report: everything that a reader may rely on, as versioned pydantic models.

A manifest names data, never code. `store/__init__.py` specifies the bundle as a whole.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT_VERSION = 1

Architecture = Literal["lstm-language-model", "gru-language-model", "rhn-language-model"]
Part = Literal["embedding", "recurrent layers", "softmax"]
VariantName = Literal["original", "original-int8", "compressed", "compressed-int8"]
SENTENCE = (30, 1)
"""(steps, batch) of the latency that is spoken of, and that a speed budget is about; always on one thread."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", examples=["ba7816bf" * 8])]


class Frozen(BaseModel):
    """A value read from or written to disk: immutable, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRecord(Frozen):
    """One file of the bundle, by its plain path relative to the bundle's folder."""

    path: str = Field(description="plain relative path", examples=["original.onnx"])
    size_bytes: int = Field(ge=0, examples=[20631552])
    sha256: Sha256


class AxisRecord(Frozen):
    """One named axis: how many components it had and which indices were kept, ascending.

    An untied embedding is cut in a basis of its own (`Recipe.rotate_embedding`): its indices are columns of that basis.
    """

    name: str = Field(examples=["units:lstm0"])
    original: int = Field(description="components before", examples=[256])
    kept: int = Field(description="components left", examples=[194])
    kept_indices: list[int] = Field(description="which were kept, ascending", examples=[[0, 2, 3]])


class TextContract(Frozen):
    """How a text becomes scored tokens. Defined in `runtime/text.py`; recorded so that a score can be repeated."""

    unit: Literal["word", "character", "subword"] = Field(description="what one token is", examples=["word"])
    vocabulary: int = Field(description="number of tokens", examples=[10000])
    start_token: str | None = Field(
        description="stands before a text; null: its first token is given", examples=["<eos>"]
    )
    unknown_token: str | None = Field(description="what strange tokens become; null: refused", examples=["<unk>"])
    newline_token: str | None = Field(description="what a line break becomes, word-level", examples=["<eos>"])


class SizeBreakdown(Frozen):
    """Where the parameters and the multiply-adds of one token go. The embedding is a look-up: no multiply-adds."""

    embedding_parameters: int = Field(examples=[2048000])
    recurrent_parameters: int = Field(description="all recurrent layers", examples=[1052672])
    softmax_parameters: int = Field(description="the decoder and its bias; tied: the bias alone", examples=[2056000])
    recurrent_mult_adds: int = Field(description="per token", examples=[1048576])
    softmax_mult_adds: int = Field(description="per token", examples=[2048000])

    @property
    def parameters(self) -> int:
        """All parameters; a tied matrix is counted once, under the embedding."""
        return self.embedding_parameters + self.recurrent_parameters + self.softmax_parameters

    @property
    def mult_adds(self) -> int:
        """Multiply-adds per token: recurrent layers + softmax, as the paper counts (PAPER section 4.1)."""
        return self.recurrent_mult_adds + self.softmax_mult_adds


class LatencyRecord(Frozen):
    """Median and tail of one variant at one shape, measured interleaved with the original.

    `speedup` is the median over pairs of original / this, with the 95 % interval of that median.
    """

    steps: int = Field(description="tokens of each sequence in one run", examples=[30])
    batch: int = Field(description="sequences side by side", examples=[1])
    threads: int = Field(examples=[1])
    device: str = Field(default="cpu", examples=["cpu"])
    median_ms: float = Field(examples=[0.63])
    p90_ms: float = Field(description="nine runs of ten are faster", examples=[0.7])
    speedup: float = Field(description="original / this, median over the rounds", examples=[4.1])
    speedup_low: float = Field(description="lower end of its 95 % interval", examples=[4.0])
    speedup_high: float = Field(description="upper end of its 95 % interval", examples=[4.2])


class LayerRecord(Frozen):
    """One recurrent layer: its matrices and biases."""

    axis: str = Field(description="the axis of its units", examples=["units:lstm0"])
    units: int = Field(examples=[225])
    parameters: int = Field(description="biases included", examples=[252000])
    mult_adds: int = Field(description="per token", examples=[251100])


class VariantRecord(Frozen):
    """One ONNX graph of the bundle, verified and measured."""

    name: VariantName = Field(examples=["compressed-int8"])
    file: str = Field(examples=["compressed-int8.onnx"])
    precision: Literal["float32", "int8"] = Field(examples=["int8"])
    eight_bit: list[Part] | None = Field(
        default=None,
        description="parts whose weights take 8 bits, the others stay float32; null: not recorded",
        examples=[["embedding", "recurrent layers", "softmax"]],
    )
    embedding: int = Field(description="width of the embedding", examples=[54])
    units: list[int] = Field(description="units of each recurrent layer", examples=[[225, 194]])
    tied: bool = Field(default=False, description="the decoder is the embedding", examples=[False])
    size_bytes: int = Field(description="of the file", examples=[2610000])
    breakdown: SizeBreakdown
    layers: list[LayerRecord] = Field(default=[], description="the recurrent layers; empty: not recorded")
    perplexity: float = Field(description="on the held-out text, through the runtime", examples=[33.2])
    perplexity_rise: float = Field(description="perplexity / original's perplexity - 1", examples=[0.044])
    latency: list[LatencyRecord] = []

    @property
    def sentence(self) -> LatencyRecord:
        """Its latency at `SENTENCE`.

        Raises:
            ValueError: when it was not timed there.
        """
        for each in self.latency:
            if (each.steps, each.batch) == SENTENCE:
                return each
        raise ValueError(f"'{self.name}' was not timed at (steps, batch) = {SENTENCE}")


class CheckRecord(Frozen):
    """One verification that the bundle passed: the largest error found and the tolerance it had to meet."""

    name: str = Field(examples=["pruned = masked reference"])
    detail: str = Field(examples=["log-probabilities of 420 tokens, state carried over 3 runs"])
    error: float = Field(description="largest difference found, nats", examples=[1.9e-6])
    tolerance: float = Field(description="what it had to stay below", examples=[1e-4])


class CurvePoint(Frozen):
    """One model on the trade-off curve, before fine-tuning."""

    removed_share: float = Field(
        description="of all that removing every prunable component would save, the share that is gone, 0 to 1",
        examples=[0.4],
    )
    embedding: int = Field(examples=[54])
    units: list[int] = Field(examples=[[225, 194]])
    parameters: int = Field(examples=[2571596])
    mult_adds: int = Field(description="per token", examples=[2340000])
    perplexity: float = Field(description="by the search's quick estimate", examples=[33.4])
    perplexity_rise: float = Field(examples=[0.045])
    within_budget: bool = Field(description="as it stands here, before fine-tuning", examples=[True])
    speedup: float | None = Field(
        default=None, description="original / this, 30 steps x 1, one thread; timed for speed budgets", examples=[3.1]
    )
    chosen: bool = Field(default=False, description="the one that was published", examples=[False])


class EpochPoint(Frozen):
    """One epoch of learning: what it cost beside how many components were left."""

    round: int = Field(description="counted from 1", examples=[1])
    seconds: float = Field(description="of its training steps", examples=[94.1])
    steps: int = Field(description="training steps; fewer where it ended early", examples=[1327])
    units: dict[str, int] = Field(description="components of every axis", examples=[{"units:lstm0": 400}])
    training_perplexity: float = Field(examples=[88.2])
    valid_perplexity: float = Field(description="on the held-out text, by the quick estimate", examples=[101.3])


class Budget(Frozen):
    """What the compressed model must keep to. Exactly one limit is set; the default is a rise of 5 %."""

    perplexity_rise: float | None = Field(
        default=None, ge=0, le=10, description="largest allowed relative rise of perplexity", examples=[0.05]
    )
    size_ratio: float | None = Field(
        default=None, gt=0, lt=1, description="parameters of the compressed / of the original", examples=[0.4]
    )
    speedup: float | None = Field(
        default=None,
        gt=1,
        le=1000,
        description="original / compressed latency, both float32, one thread",
        examples=[3.0],
    )


class Recipe(Frozen):
    """Everything asked of a compression. With the hashes of the inputs it identifies the job."""

    name: str = Field(default="model", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", examples=["mine"])
    mode: Literal["calibrate", "learn"] = Field(
        default="calibrate",
        description="closed form in seconds, or rounds of removing and training on a training text",
        examples=["calibrate"],
    )
    learner: Literal["calibrated", "proximal", "l0", "group_lasso"] = Field(
        default="calibrated", description="how a round of `learn` takes components away", examples=["calibrated"]
    )
    learn_epochs: float = Field(
        default=6.0, gt=0, le=1000, description="passes over the training text, all rounds of `learn`", examples=[6.0]
    )
    strength: float = Field(
        default=0.002, gt=0, le=10, description="of `group_lasso`, for a loss summed over the steps", examples=[0.002]
    )
    budget: Budget = Budget(perplexity_rise=0.05)
    prune_embedding: bool = Field(default=True, description="may the embedding's width shrink", examples=[True])
    rotate_embedding: bool = Field(
        default=True,
        description="may an untied embedding change its basis before it is cut: exact, and a cut loses far less",
        examples=[True],
    )
    calibration_tokens: int = Field(default=10_000, ge=200, le=1_000_000, description="observed", examples=[10000])
    held_out_tokens: int = Field(default=10_000, ge=100, le=10_000_000, description="judged on", examples=[10000])
    finetune_minutes: float = Field(default=0.0, ge=0, le=24 * 60, description="of distillation", examples=[10])
    unit: Literal["auto", "word", "character"] = Field(
        default="auto", description="of the vocabulary", examples=["word"]
    )
    start_token: str | None = Field(
        default=None, description="null: <bos>, <s>, <sos>, <eos>, </s> or a line break, if there", examples=["<eos>"]
    )
    seed: int = Field(default=1, ge=0, le=2**63 - 1, examples=[1])


class Provenance(Frozen):
    """Where the bundle comes from."""

    upload_sha256: Sha256
    layout: str = Field(
        description="which state-dict layout was recognised", examples=["AWD-LSTM: 3 LSTM layers, tied"]
    )
    calibration: str = Field(description="origin and number of tokens", examples=["uploaded text (10,000 tokens)"])
    held_out: str = Field(description="origin and number of tokens", examples=["uploaded text (10,000 tokens)"])
    finetune: str | None = Field(default=None, examples=["10 minutes of distillation: perplexity 99.1 -> 95.2"])
    versions: dict[str, str] = Field(examples=[{"torch": "2.13.0"}])
    machine: str = Field(examples=["AMD EPYC (x86_64), 2 threads"])
    int8_instructions: list[str] | None = Field(
        default=None,
        description="of the processor's instruction sets, those that multiply 8-bit numbers fast; null: not recorded",
        examples=[["avx512_vnni"]],
    )
    seconds: dict[str, float] = Field(description="wall time of each stage", examples=[{"search": 12.3}])


class Manifest(Frozen):
    """`manifest.json`: the head of a bundle."""

    format_version: Literal[1] = Field(default=1, examples=[1])
    task: Literal["language-model"] = Field(default="language-model", examples=["language-model"])
    name: str = Field(examples=["mine"])
    created_at: datetime = Field(examples=["2026-11-24T12:00:00Z"])
    architecture: Architecture = Field(default="lstm-language-model", examples=["lstm-language-model"])
    recipe: Recipe
    text: TextContract
    axes: list[AxisRecord]
    variants: list[VariantRecord]
    checks: list[CheckRecord]
    provenance: Provenance
    files: list[FileRecord]

    def variant(self, name: str) -> VariantRecord | None:
        """The variant of that name, or None."""
        return next((variant for variant in self.variants if variant.name == name), None)


class Report(Frozen):
    """`report.json`: the trade-off curve and what was left out, for the card's plots and the reader's questions."""

    curve: list[CurvePoint]
    epochs: list[EpochPoint] = Field(default=[], description="of `learn`")
    verdict: str = Field(
        description="one sentence: what was gained, or why it is not worth it",
        examples=["compressed-int8 is 4.1x as fast"],
    )
    left_out: list[str] = Field(default=[], description="variants not published and why", examples=[[]])
