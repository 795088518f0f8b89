"""What a kind of model is to everything outside its own folders: names, metrics, budget, words.

A value of this class is all that types, card, client and service know of a kind. What is done with
its models is in `isslim/runtime/<kind>/` and `isslim/compress/kinds/<kind>/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from isslim.types.kinds.metric_format import ExtraMetric, MetricFormat
from isslim.types.recipe import Budget
from isslim.types.text import TextContract

MASKED_REFERENCE = (
    "The masked reference is the full-size model, repaired, with the removed units held at zero."
)
"""The `reference_note` of kinds whose proof masks the repaired network."""


@dataclass(frozen=True)
class ExampleInput:
    """One input of a recorded run.

    Attributes:
        name: of the graph's input.
        dtype: as NumPy writes it.
        shape: of the array.
        values: the numbers as nested lists; None: they are too many to print.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: object | None


@dataclass(frozen=True)
class Served:
    """What a card says of how a model is asked is made of this.

    Attributes:
        name: of the model.
        variants: names of its graphs, the original first.
        text: how texts are read; None: the bundle does not say.
        inputs: of the recorded run that was timed; empty: the bundle holds none.
    """

    name: str
    variants: tuple[str, ...]
    text: TextContract | None = None
    inputs: tuple[ExampleInput, ...] = ()


@dataclass(frozen=True)
class Usage:
    """How a model is asked, for the card.

    Attributes:
        title: of the section.
        path: that the example posts to.
        body: of the example, as JSON; None: the example sends an npz.
        text: paragraphs before the example, Markdown; empty: none.
        with_inputs: whether a table of the recorded run's inputs goes before the text.
    """

    title: str
    path: str
    body: Mapping[str, object] | None
    text: str = ""
    with_inputs: bool = False


@dataclass(frozen=True)
class KindDescription:
    """One kind of model.

    Attributes:
        name: in manifests, answers and logs, such as `language-model`.
        title: for people, such as `language model`.
        architectures: what manifests call its networks.
        metrics: that a budget of quality can be about, by name; the first is the usual one.
        default_budget: where a recipe names no limit; its limit is the only one of quality.
        budget_phrase: a limit of quality in words, from its value and the metric's format.
        endpoint: method and path where its models answer.
        run_label: what one timed run is, from steps, batch and the recorded run's description.
        step: what multiply-adds are counted of.
        reference_note: what the proof compares with, a sentence of the card.
        interval_note: how intervals of quality are found, a sentence of the card.
        usage: how a model is asked.
        extra_metrics: that are shown beside the metric, by name.
        metric_phrase: subject and verb of `... measured on the held-out data`; empty: made of the
            metric's name.
        uncounted: what multiply-adds leave out, a sentence with a space before it; empty: nothing.
        units_note: what the units of its parts are, a sentence of the card; empty: nothing.
        estimate_note: how the search's quick estimate differs from the published figures; None:
            candidates are measured as the variants are.
        training_value: what the training column of learning holds.
        float32_parts: parts that never take 8 bits.
        has_recorded_runs: whether a bundle holds recorded runs, by which latency can be asked for.
    """

    name: str
    title: str
    architectures: tuple[str, ...]
    metrics: Mapping[str, MetricFormat]
    default_budget: Budget
    budget_phrase: Callable[[float, MetricFormat], str]
    endpoint: str
    run_label: Callable[[int, int, str | None], str]
    step: str
    reference_note: str
    interval_note: str
    usage: Callable[[Served], Usage]
    extra_metrics: Mapping[str, ExtraMetric] = field(default_factory=dict)
    metric_phrase: str = ""
    uncounted: str = ""
    units_note: str = ""
    estimate_note: str | None = None
    training_value: str = "loss"
    float32_parts: tuple[str, ...] = ()
    has_recorded_runs: bool = False

    @property
    def quality_limit(self) -> str:
        """The limit of a budget that is about its quality, such as `perplexity_rise`."""
        (name,) = self.default_budget.limits
        return name


def usual_run_label(thing: str, steps: int, batch: int) -> str:
    """What one timed run is, such as `one text of 30 tokens` or `10 texts of 30 tokens each`.

    Args:
        thing: with the preposition that joins it to its tokens, such as `text of`.
        steps: tokens of each.
        batch: side by side.
    """
    tokens = "1 token" if steps == 1 else f"{steps} tokens"
    noun, preposition = thing.rsplit(" ", 1)
    if batch == 1:
        return f"one {noun} {preposition} {tokens}"
    return f"{batch} {noun}s {preposition} {tokens} each"
