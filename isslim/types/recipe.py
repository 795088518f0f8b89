"""The recipe of a compression: all of its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from isslim.types.budget import Budget as Budget
from isslim.types.budget import StrictModel as StrictModel
from isslim.types.graph_metrics import COMMAND as COMMAND
from isslim.types.graph_metrics import EVALUATION_NAME as EVALUATION_NAME
from isslim.types.graph_metrics import METRIC_OF_GRAPHS as METRIC_OF_GRAPHS
from isslim.types.graph_metrics import GraphMetric as GraphMetric
from isslim.types.names import NAME, is_model_id

Mode = Literal["calibrate", "learn"]
Optimize = Literal["stream", "sentence", "batch", "size"]


RENAMED = {"finetune_minutes": "minutes"}
"""Options by their former names, which old requests and manifests have."""


def with_current_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a recipe by their current names.

    Raises:
        ValueError: when an option is given under both of its names.
    """
    both = [old for old, new in RENAMED.items() if old in options and new in options]
    if both:
        raise ValueError(
            f"`{both[0]}` is the former name of `{RENAMED[both[0]]}`, and both are given: leave "
            f"`{both[0]}` out"
        )
    return {RENAMED.get(name, name): value for name, value in options.items()}


FINITE = ConfigDict(allow_inf_nan=False)
"""JSON has no other numbers: stored, they would come back as null, which means something else."""


class Check(StrictModel):
    """A perplexity that the sender measured, to check that the model was read as it was trained."""

    model_config = FINITE

    perplexity: float = Field(
        gt=1,
        description="perplexity of the whole text sent as `check`, or else as `held_out`",
        examples=[83.8],
    )
    tolerance: float = Field(
        default=0.01,
        gt=0,
        le=1,
        description="largest relative difference allowed for the model as it was read",
        examples=[0.01],
    )


class TimedShape(StrictModel):
    """A shape to measure latency at."""

    steps: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="tokens of each sequence; null: the usual number, or for a graph as recorded",
        examples=[30],
    )
    batch: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="sequences in the batch; null: one, or for a graph as recorded",
        examples=[1],
    )


class Recipe(StrictModel):
    """All options of a compression. With the hashes of the inputs they identify the job."""

    model_config = FINITE

    name: str = Field(
        description="name of the resulting model: at most 64 letters, digits, dots, underscores "
        "and hyphens, the first a letter or digit",
        default="model",
        pattern=NAME,
        examples=["mine"],
    )
    mode: Mode = Field(
        default="calibrate",
        description="`calibrate`: removal and repair in closed form, then distillation from the "
        "original, where such a model is trained here (see `Recipe.minutes`); `learn`: rounds of "
        "removal and training on a text or questions",
        examples=["calibrate"],
    )
    learner: Literal["calibrated", "proximal", "l0", "group_lasso"] = Field(
        default="calibrated",
        description="how a round of `learn` removes components: `calibrated`, in closed form; "
        "`proximal`, `l0` and the paper's `group_lasso`, by training that drives them to zero",
        examples=["calibrated"],
    )
    start: Literal["uploaded", "scratch"] = Field(
        default="uploaded",
        description="initial weights for training with a learner: those uploaded, or random "
        "ones, with the original as the teacher only",
        examples=["uploaded"],
    )
    learn_epochs: float = Field(
        default=6.0,
        gt=0,
        le=1000,
        description="passes over the training text, over all rounds of `learn`",
        examples=[6.0],
    )
    strength: float = Field(
        default=0.002,
        gt=0,
        le=10,
        description="regularisation strength of `group_lasso`, for a loss summed over the steps",
        examples=[0.002],
    )
    budget: Budget = Field(
        default=Budget(), description="the limit that the compressed model must keep to"
    )
    metric: GraphMetric = Field(
        default="output_change",
        description="for a graph: the metric of its outputs. Of their change: `output_change`, "
        "`argmax`, `mean_squared_error` or `cosine`; of targets that are recorded beside the "
        "inputs (`target:<output>`): `accuracy`, `f1_binary`, `f1_macro`, `auc`, "
        "`target_squared_error` or `ctc_error_rate`; or `command:<name>`, an evaluation that the "
        "worker's operator configured",
        examples=["output_change"],
    )
    outputs: list[str] = Field(
        default=[],
        description="for a graph: the outputs that it is evaluated on; empty: all but the "
        "states that its caller carries over",
        examples=[["logits"]],
    )
    shapes: list[TimedShape] = Field(
        default=[],
        max_length=8,
        description="shapes at which latency is measured; the first is the primary one, which "
        "a speed budget limits; empty: the task's own, and for a graph its "
        "smallest, median and largest recorded runs",
        examples=[[{"steps": 30, "batch": 1}]],
    )
    decision_axis: int | None = Field(
        default=None,
        ge=-8,
        le=7,
        description="for a graph: the dimension of its outputs that holds their classes "
        "(`argmax`, and metrics of targets) or their features (`cosine`); negative values count "
        "from the last; null: inferred from the graph",
        examples=[1],
    )
    threshold: float | None = Field(
        default=None,
        exclude_if=lambda value: value is None,  # a request without it has the id it always had
        description="for a graph with targets of two classes and one number for each decision: "
        "the number above which it is class 1; null: 0.5, which suits probabilities alone",
        examples=[0.5],
    )
    blank: int | None = Field(
        default=None,
        ge=0,
        exclude_if=lambda value: value is None,
        description="for a graph with the metric `ctc_error_rate`: index of the blank among the "
        "classes; null: 0",
        examples=[0],
    )
    stream: bool | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="for a graph that returns states: whether held-out runs are windows in order, "
        "each variant continuing from the states that it returned itself; false: every run "
        "starts from its recorded states; null: yes where recorded states are those that the run "
        "before returns",
        examples=[True],
    )
    prune_embedding: bool = Field(
        default=True,
        description="for a language model: whether the embedding's width may shrink",
        examples=[True],
    )
    rotate_embedding: bool = Field(
        default=True,
        description="for a language model: whether the basis of an untied embedding may be "
        "changed before it is cut: the change is exact, and the cut then loses far less",
        examples=[True],
    )
    narrow_softmax: bool = Field(
        default=True,
        description="for an LSTM or GRU language model: whether narrow linear layers may be "
        "inserted before an untied softmax over a large vocabulary, one before all of it or one "
        "before each of a few blocks of words by frequency, where that saves what sizes are chosen "
        "by (`Recipe.optimize`)",
        examples=[True],
    )
    ranks: bool = Field(
        default=True,
        exclude_if=lambda value: value is True,  # a request without it has the id it always had
        description="for an LSTM or GRU language model, question answering, or an ONNX graph: "
        "whether narrow linear layers may be inserted before the inputs of recurrent layers and, "
        "in a language model, in their recurrences, in a graph before other matrices too, where "
        "that saves what sizes are chosen by",
        examples=[True],
    )
    form: Literal["free", "same"] = Field(
        default="free",
        exclude_if=lambda value: value == "free",  # a request without it has the id it always had
        description="for a language model, or a module that `isslim.compress` exported: `same` "
        "keeps the form of the upload, so that the result is also a state dict, or module, of its "
        "own class with smaller numbers: layers that one module holds keep one size, and no basis "
        "changes and no layer is inserted, whatever `Recipe.rotate_embedding`, "
        "`Recipe.narrow_softmax` and `Recipe.ranks` say",
        examples=["free"],
    )
    optimize: Optimize = Field(
        default="sentence",
        exclude_if=lambda value: value == "sentence",  # a request without it keeps its id
        description="for a language model: the run whose time on the worker's host sizes are "
        "chosen by, and which the verdict is about where `Recipe.shapes` names no run: `stream`, "
        "one token; `sentence`, one text of 30 tokens; `batch`, 10 texts of 30 tokens. With "
        "`size`, or a budget of size, sizes are chosen by counting parameters",
        examples=["sentence"],
    )
    check: Check | None = Field(
        default=None,
        description="for a language model: a perplexity that the sender measured; the job is "
        "refused where the model as read disagrees with it",
    )
    calibration_tokens: int = Field(
        default=20_000,
        ge=200,
        le=1_000_000,
        description="tokens of calibration text on which activations are collected, in pieces "
        "spread over the whole text",
        examples=[20000],
    )
    held_out_tokens: int = Field(
        default=10_000,
        ge=100,
        le=10_000_000,
        description="tokens of held-out text on which the search evaluates candidates, in "
        "pieces spread over the whole text",
        examples=[10000],
    )
    published_tokens: int | None = Field(
        default=None,
        ge=100,
        description="tokens from the beginning of the held-out text on which the published "
        "figures are measured; null: all of it",
        examples=[None],
    )
    calibration_questions: int = Field(
        default=1000,
        ge=10,
        le=1_000_000,
        description="for question answering: questions on which activations are collected",
        examples=[1000],
    )
    held_out_questions: int = Field(
        default=1000,
        ge=10,
        le=1_000_000,
        description="for question answering: questions on which candidates are evaluated",
        examples=[1000],
    )
    minutes: float | None = Field(
        default=None,
        ge=0,
        le=24 * 60,
        description="in the mode `calibrate`: most minutes of distillation from the original, for "
        "all candidates of the job together; it ends earlier where no more is won; 0: the closed "
        "form alone; null: 5, or what a graph's job leaves of ten, search and proof included. A "
        "graph is distilled on recorded inputs only",
        examples=[5],
    )
    vary_inputs: bool = Field(
        default=True,
        exclude_if=lambda value: value is True,  # a request without it has the id it always had
        description="for a graph: whether it is also distilled on variations of its recorded "
        "inputs, which the original answers: signals are mixed, made louder or softer, shifted and "
        "disturbed, some ids replaced by others of the recordings; masks, lengths and states stay",
        examples=[True],
    )
    unit: Literal["auto", "word", "character"] = Field(
        default="auto", description="what a token of the vocabulary is", examples=["word"]
    )
    start_token: str | None = Field(
        default=None,
        description="token that starts a text; null: <bos>, <s>, <sos>, <eos>, </s> or a line "
        "break, if the vocabulary has one",
        examples=["<eos>"],
    )
    promote: str | None = Field(
        default=None,
        pattern=NAME,
        exclude_if=lambda value: value is None,  # a request without it has the id it always had
        description="alias that is pointed at the resulting model once the job has succeeded, "
        "such as the model's own name: without it, the name remains with the first model that had "
        "it; null: none",
        examples=["prod"],
    )
    license: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$",
        exclude_if=lambda value: value is None,  # a request without it has the id it always had
        description="licence of the model, for the head of its card: an identifier of the Hugging "
        "Face Hub; null: the card names none",
        examples=["mit"],
    )
    base_model: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9_.-]{1,96})?$",
        exclude_if=lambda value: value is None,
        description="name on the Hugging Face Hub of the model that is compressed, for the head "
        "of the card; null: the card names none",
        examples=["user/model"],
    )
    seed: int = Field(
        description="seed of everything that is random", default=1, ge=0, le=2**63 - 1, examples=[1]
    )

    @model_validator(mode="before")
    @classmethod
    def _read_renamed(cls, given: Any) -> Any:
        """Reads options under their former names."""
        return with_current_names(given) if isinstance(given, dict) else given

    @field_validator("promote")
    @classmethod
    def _is_no_id(cls, alias: str | None) -> str | None:
        """Refuses an alias that a request would take for a model's id."""
        if alias is not None and is_model_id(alias):
            raise ValueError(f"'{alias}' has the form of a model's id: choose another alias")
        return alias

    @model_validator(mode="after")
    def _keeps_one_size(self) -> Self:
        """Refuses a learner that sizes every layer by itself where layers keep one size."""
        if self.form == "same" and self.mode == "learn" and self.learner != "calibrated":
            raise ValueError(
                f"form 'same' with the learner '{self.learner}', which gives every layer a size "
                "of its own: ask for the learner 'calibrated', or for the form 'free'"
            )
        return self

    @model_validator(mode="after")
    def _trains_from_scratch(self) -> Self:
        """Refuses a start from which nothing would be trained."""
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
