"""Language models: recurrent networks that assign a probability to every token of a text."""

from __future__ import annotations

from isslim.types.kinds.description import (
    MASKED_REFERENCE,
    KindDescription,
    Served,
    Usage,
    usual_run_label,
)
from isslim.types.kinds.metric_format import PERCENT, MetricFormat
from isslim.types.kinds.programs import language_programs
from isslim.types.recipe import Budget


def _usage(served: Served) -> Usage:
    text = served.text
    if text is None:
        raise ValueError(f"'{served.name}' is a language model and does not say how texts are read")
    start = (
        f"`{text.start_token!r}`"
        if text.start_token
        else "nothing: the first token is given, not scored"
    )
    unknown = f"becomes `{text.unknown_token}`" if text.unknown_token else "is refused"
    return Usage(
        "How texts are read",
        "score",
        {"model": served.name, "texts": ["..."], "variants": list(served.variants)},
        f"A token is one of {text.vocabulary:,} {text.unit}s. Before the first comes {start}. What "
        f"is not in the vocabulary {unknown}. Perplexity is exp of the mean negative natural "
        "log-probability of all scored tokens.",
    )


LANGUAGE = KindDescription(
    name="language-model",
    title="language model",
    architectures=("lstm-language-model", "gru-language-model", "rhn-language-model"),
    metrics={
        "perplexity": MetricFormat(
            "perplexity",
            "rise of perplexity",
            "{:.2f}".format,
            PERCENT,
            "rise of perplexity (%)",
            factor=100,
            worse="higher",
            loss_clause="Perplexity rises by {}",
            gain_clause="Perplexity falls by {}",
        )
    },
    default_budget=Budget(perplexity_rise=0.05),
    budget_phrase=lambda limit, _: f"a rise of perplexity by at most {100 * limit:g} %",
    endpoint="POST /score",
    run_label=lambda steps, batch, _: usual_run_label("text of", steps, batch),
    step="token (step)",
    reference_note=MASKED_REFERENCE,
    interval_note=(
        "The interval of a change is that of a bootstrap over blocks of the text, original and "
        "variant always on the same tokens. A text of over 20,000 tokens is scored in pieces side "
        "by side, each after the 128 tokens before it."
    ),
    usage=_usage,
    programs=language_programs,
    pipeline_tag="text-generation",
    units_note=(
        "The embedding's units are its columns, those of the softmax the tokens of the vocabulary, "
        "which all stay."
    ),
    estimate_note=(
        ": over pieces spread over the held-out text, the first tokens of each only setting "
        "its state. That of the variants is the runtime's, over the whole text"
    ),
    training_value="perplexity",
    unused_options=frozenset(
        (
            "blank",
            "calibration_questions",
            "decision_axis",
            "held_out_questions",
            "metric",
            "outputs",
            "stream",
            "threshold",
            "vary_inputs",
        )
    ),
)
