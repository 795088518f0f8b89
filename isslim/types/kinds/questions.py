"""Question answering: networks that find the answer to a question in a context."""

from __future__ import annotations

from isslim.types.kinds.description import (
    MASKED_REFERENCE,
    KindDescription,
    Served,
    Usage,
    usual_run_label,
)
from isslim.types.kinds.metric_format import ExtraMetric, MetricFormat
from isslim.types.kinds.programs import question_programs
from isslim.types.recipe import Budget


def _budget_phrase(limit: float, _: MetricFormat) -> str:
    return f"a fall of F1 by at most {limit:g} {'point' if limit == 1 else 'points'}"


def _usage(served: Served) -> Usage:
    body = {"model": served.name, "question": "...", "context": "..."}
    return Usage("How to ask it over HTTP", "qa", body)


QUESTIONS = KindDescription(
    name="question-answering",
    title="question answering",
    architectures=("bidaf",),
    metrics={
        "f1": MetricFormat(
            "F1",
            "fall of F1",
            "{:.2f}".format,
            "+z.{}f",
            "fall of F1 (points)",
            worse="lower",
            loss_clause="F1 falls by {} points",
            gain_clause="F1 rises by {} points",
        )
    },
    default_budget=Budget(f1_fall=1.0),
    budget_phrase=_budget_phrase,
    endpoint="POST /qa",
    run_label=lambda steps, batch, _: usual_run_label("question on", steps, batch),
    step="token (step)",
    reference_note=MASKED_REFERENCE,
    interval_note=(
        "The interval of a change is that of a bootstrap over contexts with all their questions, "
        "original and variant always on the same ones."
    ),
    usage=_usage,
    programs=question_programs,
    pipeline_tag="question-answering",
    extra_metrics={"exact_match": ExtraMetric("EM", "{:.2f}".format)},
    metric_phrase=(
        "EM, the share of answers that are a golden one exactly, and F1, the mean overlap with the "
        "closest golden one in words, both in percent by SQuAD's rules, are"
    ),
    uncounted=(
        " What depends on the texts' lengths is not counted: the convolution over a word's "
        "characters, and the attention between context and question."
    ),
    units_note=(
        "The characters' units are the filters over them, those of the highways the width of a "
        "word. Of an LSTM the units forward and backward stand in parentheses."
    ),
    estimate_note=(
        ": PyTorch's, every context in one piece. That of the variants is the runtime's, which "
        "reads long contexts in windows"
    ),
    training_value="loss in nats",
    float32_parts=("convolution", "attention", "heads"),
    unused_options=frozenset(
        (
            "blank",
            "calibration_tokens",
            "decision_axis",
            "held_out_tokens",
            "metric",
            "narrow_softmax",
            "optimize",
            "outputs",
            "prune_embedding",
            "published_tokens",
            "rotate_embedding",
            "start_token",
            "stream",
            "strength",
            "threshold",
            "unit",
            "vary_inputs",
        )
    ),
)
