"""What is asked of a compression: the recipe, and the budget in it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

COMMAND = "command:"
"""Before the name of an evaluation, as a metric."""
EVALUATION_NAME = r"[a-z0-9][a-z0-9_-]{0,31}"
METRIC_OF_GRAPHS = rf"^(output_change|argmax|mean_squared_error|cosine|{COMMAND}{EVALUATION_NAME})$"
GraphMetric = Annotated[str, Field(pattern=METRIC_OF_GRAPHS)]


Mode = Literal["calibrate", "learn"]


class StrictModel(BaseModel):
    """A value read from or written to disk: immutable, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_FIELDS = {"quality": "loss", "size": "size_ratio", "speed": "speedup"}
"""Of a budget that names what its limit is about."""


class Budget(StrictModel):
    """What the compressed model must keep to: one limit; without any, its kind's own.

    It is also read as `{"limit": "quality" | "size" | "speed", "value": ...}`, whatever the kind.
    """

    perplexity_rise: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="largest allowed relative rise of perplexity",
        examples=[0.05],
    )
    f1_fall: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="largest allowed fall of F1, in points of 100",
        examples=[1.0],
    )
    output_change: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="of a graph: largest allowed loss in `Recipe.metric`",
        examples=[0.02],
    )
    loss: float | None = Field(
        default=None,
        ge=0,
        le=100,
        exclude_if=lambda value: value is None,  # a request without it has the id it always had
        description="of any kind: largest allowed loss in its own metric, as it counts it",
        examples=[0.02],
    )
    size_ratio: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="parameters of the compressed / of the original",
        examples=[0.4],
    )
    speedup: float | None = Field(
        default=None,
        gt=1,
        le=1000,
        description="original / compressed latency, both float32, one thread",
        examples=[3.0],
    )
    confident: bool | None = Field(
        default=None,
        description="of a budget of quality: whether the upper end of the loss's 95 % interval "
        "has to "
        "keep to it, not the loss "
        "alone; null: where fewer than 1,000 decisions judge",
        examples=[True],
    )

    @model_validator(mode="before")
    @classmethod
    def _read_pair(cls, given: Any) -> Any:
        """A limit by what it is about becomes the field of that."""
        if not isinstance(given, dict) or given.get("limit") not in _FIELDS or "value" not in given:
            return given
        rest = {name: value for name, value in given.items() if name not in ("limit", "value")}
        return {_FIELDS[given["limit"]]: given["value"], **rest}

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        found: dict[str, float] = self.model_dump(exclude_none=True, exclude={"confident"})
        return found

    @property
    def quality(self) -> float | None:
        """The largest allowed loss, in the task's metric; None for a budget of size or speed."""
        return next(
            (value for name, value in self.limits.items() if name not in ("size_ratio", "speedup")),
            None,
        )


class Check(StrictModel):
    """A perplexity that the sender measured, to check that the model was read as it was trained."""

    perplexity: float = Field(
        gt=1,
        description="of the text sent as `check`, or else as `held_out`, all of it",
        examples=[83.8],
    )
    tolerance: float = Field(
        default=0.01,
        gt=0,
        le=1,
        description="by how much the model as it was read may differ, relatively",
        examples=[0.01],
    )


class TimedShape(StrictModel):
    """A shape to measure latency at."""

    steps: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="tokens of each sequence; null: the usual number, and of a graph as recorded",
        examples=[30],
    )
    batch: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="sequences side by side; null: one, and of a graph as recorded",
        examples=[1],
    )


class Recipe(StrictModel):
    """Everything asked of a compression. With the hashes of the inputs it identifies the job."""

    name: str = Field(
        description="of the model to be",
        default="model",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        examples=["mine"],
    )
    mode: Mode = Field(
        default="calibrate",
        description="closed form in seconds, or rounds of removing and training on a training text",
        examples=["calibrate"],
    )
    learner: Literal["calibrated", "proximal", "l0", "group_lasso"] = Field(
        default="calibrated",
        description="how a round of `learn` takes components away",
        examples=["calibrated"],
    )
    start: Literal["uploaded", "scratch"] = Field(
        default="uploaded",
        description="where training with a learner begins: at the uploaded weights, or at random "
        "ones, "
        "with the original as "
        "teacher only",
        examples=["uploaded"],
    )
    learn_epochs: float = Field(
        default=6.0,
        gt=0,
        le=1000,
        description="passes over the training text, all rounds of `learn`",
        examples=[6.0],
    )
    strength: float = Field(
        default=0.002,
        gt=0,
        le=10,
        description="of `group_lasso`, for a loss summed over the steps",
        examples=[0.002],
    )
    budget: Budget = Field(default=Budget(), description="what the compressed model must keep to")
    metric: GraphMetric = Field(
        default="output_change",
        description="of a graph: what its outputs are judged by: `output_change`, `argmax`, "
        "`mean_squared_error` or `cosine`; "
        "or `command:<name>`, an evaluation that the worker's operator configured",
        examples=["output_change"],
    )
    outputs: list[str] = Field(
        default=[],
        description="of a graph: the outputs that it is judged by; empty: all but the states "
        "that its "
        "caller carries on",
        examples=[["logits"]],
    )
    shapes: list[TimedShape] = Field(
        default=[],
        max_length=8,
        description="at which latency is measured; the first is the one that is spoken of, and "
        "that a "
        "speed budget is about; "
        "empty: the task's own, and of a graph its smallest, median and largest recorded run",
        examples=[[{"steps": 30, "batch": 1}]],
    )
    decision_axis: int | None = Field(
        default=None,
        ge=-8,
        le=7,
        description="of a graph: the dimension of its outputs along which their classes lie "
        "(`argmax`) "
        "or their features "
        "(`cosine`); negative ones count from the last; null: as the graph shows it",
        examples=[1],
    )
    prune_embedding: bool = Field(
        default=True, description="may the embedding's width shrink", examples=[True]
    )
    rotate_embedding: bool = Field(
        default=True,
        description="may an untied embedding change its basis before it is cut: exact, and a cut "
        "loses "
        "far less",
        examples=[True],
    )
    narrow_softmax: bool = Field(
        default=True,
        description="may a narrow linear layer be put before an untied softmax of a large "
        "vocabulary, "
        "where that saves work",
        examples=[True],
    )
    check: Check | None = Field(
        default=None,
        description="of a language model: what the sender measured; a job is refused where it is "
        "not so",
    )
    calibration_tokens: int = Field(
        default=20_000,
        ge=200,
        le=1_000_000,
        description="observed, in pieces spread over the whole calibration text",
        examples=[20000],
    )
    held_out_tokens: int = Field(
        default=10_000,
        ge=100,
        le=10_000_000,
        description="what the search judges candidates on, in pieces spread over the whole "
        "held-out text",
        examples=[10000],
    )
    published_tokens: int | None = Field(
        default=None,
        ge=100,
        description="of the held-out text, from its beginning, what the published figures are "
        "of; null: "
        "all of it",
        examples=[None],
    )
    calibration_questions: int = Field(
        default=1000,
        ge=10,
        le=1_000_000,
        description="observed, of question answering",
        examples=[1000],
    )
    held_out_questions: int = Field(
        default=1000,
        ge=10,
        le=1_000_000,
        description="judged on, of question answering",
        examples=[1000],
    )
    finetune_minutes: float = Field(
        default=0.0, ge=0, le=24 * 60, description="of distillation", examples=[10]
    )
    unit: Literal["auto", "word", "character"] = Field(
        default="auto", description="of the vocabulary", examples=["word"]
    )
    start_token: str | None = Field(
        default=None,
        description="null: <bos>, <s>, <sos>, <eos>, </s> or a line break, if there",
        examples=["<eos>"],
    )
    seed: int = Field(
        description="of everything that is drawn", default=1, ge=0, le=2**63 - 1, examples=[1]
    )

    @model_validator(mode="after")
    def _trains_from_scratch(self) -> Self:
        """Refuses a start that nothing would train from."""
        if self.start == "scratch" and (self.mode != "learn" or self.learner == "calibrated"):
            description = (
                f"the mode '{self.mode}'"
                if self.mode != "learn"
                else f"the learner '{self.learner}'"
            )
            raise ValueError(
                f"start 'scratch' with {description}, which takes components from trained "
                "weights: ask for the mode 'learn' and "
                "the learner 'proximal', 'l0' or 'group_lasso', or leave 'start' out"
            )
        return self
