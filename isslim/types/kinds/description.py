"""Everything about a kind of model that other folders need: names, metrics, budget, words.

A value of this class is all that types, card, client and service know about a kind. The code that
handles its models is in `isslim/runtime/<kind>/` and `isslim/compress/kinds/<kind>/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from isslim.types.kinds.metric_format import ExtraMetric, MetricFormat
from isslim.types.recipe import Budget
from isslim.types.same_form import SameForm
from isslim.types.text import TextContract

MASKED_REFERENCE = (
    "The masked reference is the full-size model, repaired, with the removed units and directions "
    "held at zero. The model is compared with it as it was cut; distillation comes afterwards."
)
"""The `reference_note` of kinds whose proof masks the repaired network."""


@dataclass(frozen=True)
class ExampleInput:
    """One input of a recorded run.

    Attributes:
        name: of the graph's input.
        dtype: as NumPy writes it.
        shape: of the array.
        values: the numbers as nested lists; None if there are too many to print.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: object | None


@dataclass(frozen=True)
class Served:
    """The facts from which a card explains how to query a model.

    Attributes:
        name: of the model.
        variants: names of its graphs, the original first.
        file: of the recommended variant's graph, in the bundle.
        text: how texts are read; None if the bundle does not specify it.
        inputs: of the recorded run that was timed; empty: the bundle holds none.
        has_weights: whether the bundle holds the compressed network's weights for PyTorch.
        same_form: what changes in the sender's own class; None: it was not requested.
    """

    name: str
    variants: tuple[str, ...]
    file: str
    text: TextContract | None = None
    inputs: tuple[ExampleInput, ...] = ()
    has_weights: bool = False
    same_form: SameForm | None = None


@dataclass(frozen=True)
class Usage:
    """How to query a model, for the card.

    Attributes:
        title: of the section.
        path: that the example posts to.
        body: of the example, as JSON; None: the example sends an npz.
        text: paragraphs before the example, Markdown; may be empty.
        with_inputs: whether a table of the recorded run's inputs goes before the text.
    """

    title: str
    path: str
    body: Mapping[str, object] | None
    text: str = ""
    with_inputs: bool = False


@dataclass(frozen=True)
class Program:
    """Code to copy into a program that uses a bundle's files without a service.

    Attributes:
        title: what it uses, such as `ONNX Runtime`.
        packages: what `pip install` needs.
        code: Python.
    """

    title: str
    packages: tuple[str, ...]
    code: str


@dataclass(frozen=True)
class KindDescription:
    """One kind of model.

    Attributes:
        name: in manifests, answers and logs, such as `language-model`.
        title: for people, such as `language model`.
        architectures: what manifests call its networks.
        metrics: those that a budget on quality can limit, by name; the first is the usual one.
        default_budget: used where a recipe names no limit; the kind has no other limit on quality.
        budget_phrase: a limit of quality in words, from its value and the metric's format.
        endpoint: method and path that serve its models.
        run_label: describes one timed run, from steps, batch and the recorded run's description.
        step: the unit per which multiply-adds are counted.
        reference_note: the reference that the proof compares with, a sentence of the card.
        interval_note: how intervals of quality are found, a sentence of the card.
        usage: how to query a model.
        programs: code that uses a model's files without a service.
        pipeline_tag: what the Hugging Face Hub calls the kind; None: it has no name for it.
        extra_metrics: those shown beside the metric, by name.
        metric_phrase: subject and verb of `... measured on the held-out data`; empty: made of the
            metric's name.
        uncounted: what multiply-adds leave out, a sentence with a space before it; empty: nothing.
        units_note: what the units of its parts are, a sentence of the card; empty: nothing.
        estimate_note: how the search's quick estimate differs from the published figures; None:
            candidates are measured as the variants are.
        probed: what an axis that is cut alone is found to lose.
        training_value: what the training column of learning holds.
        float32_parts: parts that never take 8 bits.
        has_recorded_runs: whether a bundle holds recorded runs, at which latency can be measured.
        unused_options: fields of a recipe that have no effect on such a model. A job accepts
            them, and its inspection names those that were changed; `isslim.compress` refuses those
            that its caller gave.
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
    programs: Callable[[Served], Sequence[Program]] = lambda _: ()
    pipeline_tag: str | None = None
    extra_metrics: Mapping[str, ExtraMetric] = field(default_factory=dict)
    metric_phrase: str = ""
    uncounted: str = ""
    units_note: str = ""
    estimate_note: str | None = None
    probed: str = "nats above the original's log-loss"
    training_value: str = "loss"
    float32_parts: tuple[str, ...] = ()
    has_recorded_runs: bool = False
    unused_options: frozenset[str] = frozenset()

    @property
    def quality_limit(self) -> str:
        """The field of a budget that limits quality, such as `perplexity_rise`."""
        (name,) = self.default_budget.limits
        return name


def usual_run_label(thing: str, steps: int, batch: int) -> str:
    """Describes one timed run, such as `one text of 30 tokens` or `10 texts of 30 tokens each`.

    Args:
        thing: with the preposition that joins it to its tokens, such as `text of`.
        steps: tokens in each.
        batch: how many in the batch.
    """
    tokens = "1 token" if steps == 1 else f"{steps} tokens"
    noun, preposition = thing.rsplit(" ", 1)
    if batch == 1:
        return f"one {noun} {preposition} {tokens}"
    return f"{batch} {noun}s {preposition} {tokens} each"
