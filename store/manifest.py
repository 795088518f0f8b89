"""The bundle's manifest and report: everything that a reader may rely on, as versioned pydantic models.

A manifest names data, never code. `store/__init__.py` specifies the bundle as a whole.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT_VERSION = 1

VariantName = Literal["original", "original-int8", "compressed", "compressed-int8"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Frozen(BaseModel):
    """A value read from or written to disk: immutable, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRecord(Frozen):
    """One file of the bundle, by its plain path relative to the bundle's folder."""

    path: str
    size_bytes: int = Field(ge=0)
    sha256: Sha256


class AxisRecord(Frozen):
    """One named axis: how many components it had and which indices were kept, ascending."""

    name: str = Field(examples=["units:lstm0"])
    original: int
    kept: int
    kept_indices: list[int]


class TextContract(Frozen):
    """How a text becomes scored tokens. Defined in `runtime/text.py`; recorded so that a score can be repeated.

    Attributes:
        unit: what one token is.
        start_token: the token that stands before a text's first token; null: the first token is not scored.
        unknown_token: what a token outside the vocabulary becomes; null: such text is refused.
        newline_token: what a line break becomes in a word-level text.
    """

    unit: Literal["word", "character", "subword"]
    vocabulary: int
    start_token: str | None
    unknown_token: str | None
    newline_token: str | None


class SizeBreakdown(Frozen):
    """Where the parameters and the multiply-adds of one token go. The embedding is a look-up: no multiply-adds."""

    embedding_parameters: int
    recurrent_parameters: int
    softmax_parameters: int
    recurrent_mult_adds: int
    softmax_mult_adds: int

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

    steps: int
    batch: int
    threads: int
    device: str = "cpu"
    median_ms: float
    p90_ms: float
    speedup: float
    speedup_low: float
    speedup_high: float


class VariantRecord(Frozen):
    """One ONNX graph of the bundle, verified and measured."""

    name: VariantName
    file: str
    precision: Literal["float32", "int8"]
    embedding: int
    units: list[int]
    tied: bool = False
    size_bytes: int
    breakdown: SizeBreakdown
    perplexity: float
    perplexity_rise: float = Field(description="perplexity / original's perplexity - 1")
    latency: list[LatencyRecord] = []


class CheckRecord(Frozen):
    """One verification that the bundle passed: the largest error found and the tolerance it had to meet."""

    name: str = Field(examples=["pruned = masked reference"])
    detail: str
    error: float
    tolerance: float


class CurvePoint(Frozen):
    """One model on the trade-off curve, before fine-tuning."""

    removed_share: float = Field(description="share of all prunable components removed, 0 to 1")
    embedding: int
    units: list[int]
    parameters: int
    mult_adds: int
    perplexity: float
    perplexity_rise: float
    within_budget: bool


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

    name: str = Field(default="model", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    mode: Literal["calibrate"] = "calibrate"
    budget: Budget = Budget(perplexity_rise=0.05)
    prune_embedding: bool = True
    calibration_tokens: int = Field(default=10_000, ge=200, le=1_000_000)
    held_out_tokens: int = Field(default=10_000, ge=100, le=10_000_000)
    finetune_minutes: float = Field(default=0.0, ge=0, le=24 * 60)
    unit: Literal["auto", "word", "character"] = "auto"
    start_token: str | None = Field(default=None, description="null: <eos>, <bos>, <s> or a line break if present")
    seed: int = Field(default=1, ge=0)


class Provenance(Frozen):
    """Where the bundle comes from."""

    upload_sha256: Sha256
    layout: str = Field(description="which state-dict layout was recognised")
    calibration: str = Field(description="'uploaded text' or 'text generated by the model', with token counts")
    held_out: str
    finetune: str | None = None
    versions: dict[str, str]
    machine: str
    seconds: dict[str, float] = Field(description="wall time of each stage")


class Manifest(Frozen):
    """`manifest.json`: the head of a bundle."""

    format_version: Literal[1] = 1
    task: Literal["language-model"] = "language-model"
    name: str
    created_at: datetime
    architecture: Literal["lstm-language-model"] = "lstm-language-model"
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
    verdict: str = Field(description="one sentence: what was gained, or why it is not worth it")
    left_out: list[str] = Field(default=[], description="variants not published and why")
