"""ONNX graphs with recurrent layers, and with any inputs and outputs."""

from __future__ import annotations

from isslim.types.kinds.description import KindDescription, Served, Usage
from isslim.types.kinds.metric_format import PERCENT, MetricFormat
from isslim.types.kinds.programs import graph_programs
from isslim.types.recipe import Budget


def _budget_phrase(limit: float, scale: MetricFormat) -> str:
    return f"a {scale.loss_name} of at most {scale.loss(limit).removeprefix('+')}"


def _usage(served: Served) -> Usage:
    # An example with many numbers is a file: nobody would read them in a card.
    small = all(each.values is not None for each in served.inputs)
    return Usage(
        "How to run it over HTTP",
        f"models/{served.name}/run",
        {"inputs": {each.name: each.values for each in served.inputs}} if small else None,
        "Inputs and outputs have the names, types and shapes of the uploaded graph. Where a state "
        "goes in or out, what belongs to a removed unit is ignored on the way in and zero on the "
        f"way out.\n\n`isslim run {served.name} inputs.npz` with an array for each input in the "
        "file, or:",
        with_inputs=True,
    )


GRAPHS = KindDescription(
    name="graph",
    title="ONNX graph",
    architectures=("onnx-graph",),
    metrics={
        "output_change": MetricFormat(
            "output change",
            "change of outputs",
            "{:.3g}".format,
            PERCENT,
            "change of outputs (%)",
            factor=100,
            loss_clause="The outputs change by {}",
            meaning=(
                "the root mean square of the difference to the original's output, relative to that "
                "output's standard deviation"
            ),
        ),
        "argmax": MetricFormat(
            "same decision",
            "share of differing decisions",
            "{:.2%}".format,
            PERCENT,
            "decisions that differ (%)",
            factor=100,
            loss_clause="{} of the decisions differ",
            meaning=(
                "the share of decisions that are the same: the largest entry along the dimension "
                "of the "
                "classes; of single numbers the side of 0.5; of whole numbers each number"
            ),
        ),
        "mean_squared_error": MetricFormat(
            "mean squared error",
            "mean squared error",
            "{:.3g}".format,
            ".{}g",
            "mean squared error",
            digits=3,
            loss_clause="The outputs differ by a mean squared error of {}",
            meaning=("the mean squared difference to the original's output"),
        ),
        "cosine": MetricFormat(
            "cosine similarity",
            "cosine distance",
            "{:.5f}".format,
            ".{}e",
            "1 - cosine similarity",
            loss_clause="The outputs differ by a cosine distance of {}",
            meaning=(
                "the mean cosine similarity with the original's output along the dimension of its "
                "features"
            ),
        ),
    },
    default_budget=Budget(output_change=0.02),
    budget_phrase=_budget_phrase,
    endpoint="POST /models/{model}/run",
    run_label=lambda _steps, _batch, run: run or "one run",
    step=(
        "step in the recurrent layers and in what reads them (the rest of the graph is not counted)"
    ),
    reference_note=(
        "The first reference is the uploaded file with the removed units' weights overwritten by "
        "zeros, made without the code that cuts. A difference is relative to the largest entry of "
        "its output where that is above 1."
    ),
    interval_note=(
        "The interval of a change covers what to expect on other inputs of the same kind: "
        "Wilson's for a share of decisions, otherwise a bootstrap over runs, or over stretches of "
        "runs where there are few."
    ),
    usage=_usage,
    programs=graph_programs,
    has_recorded_runs=True,
    unused_options=frozenset(
        (
            "calibration_questions",
            "calibration_tokens",
            "held_out_questions",
            "held_out_tokens",
            "learn_epochs",
            "learner",
            "narrow_softmax",
            "optimize",
            "prune_embedding",
            "ranks",
            "published_tokens",
            "rotate_embedding",
            "start",
            "start_token",
            "strength",
            "unit",
        )
    ),
)
