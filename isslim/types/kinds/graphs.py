"""ONNX graphs with recurrent layers, and with any inputs and outputs."""

from __future__ import annotations

from isslim.types.kinds.description import KindDescription, Served, Usage
from isslim.types.kinds.metric_format import PERCENT, MetricFormat
from isslim.types.kinds.programs import graph_programs
from isslim.types.recipe import Budget

POINTS = 100.0


def _budget_phrase(limit: float, scale: MetricFormat) -> str:
    points = " points" if scale.scale == POINTS else ""
    return f"a {scale.loss_name} of at most {scale.loss(limit).removeprefix('+')}{points}"


def _share(name: str, meaning: str, worse: str = "lower") -> MetricFormat:
    """A share of 1 that is shown in points of 100, as the F1 of answers is."""
    change = "fall" if worse == "lower" else "rise"
    label = f"{name[0].upper()}{name[1:]}"
    return MetricFormat(
        name,
        f"{change} of {name}",
        lambda value: f"{POINTS * value:.2f}",
        "+z.{}f",
        f"{change} of {name} (points)",
        factor=POINTS,
        worse=worse,
        loss_clause=f"{label} {change}s by {{}} points",
        gain_clause=f"{label} {'rises' if worse == 'lower' else 'falls'} by {{}} points",
        meaning=meaning,
        scale=POINTS,
    )


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
        "accuracy": _share(
            "accuracy",
            "the share of decisions, in points of 100, that are the recorded target: the largest "
            "entry along the dimension of the classes, and of single numbers the side of the "
            "threshold",
        ),
        "f1_binary": _share(
            "F1 of class 1",
            "the harmonic mean of precision and recall of class 1, in points of 100, on the "
            "recorded targets",
        ),
        "f1_macro": _share(
            "macro F1",
            "the mean of the F1 of all classes that the recorded targets hold, in points of 100",
        ),
        "auc": _share(
            "AUC",
            "the area under the receiver operating characteristic, in points of 100, on the "
            "recorded targets: how often a case of class 1 scores above one of class 0",
        ),
        "target_squared_error": MetricFormat(
            "squared error on targets",
            "rise of the squared error on targets",
            "{:.4g}".format,
            PERCENT,
            "rise of the squared error on targets (%)",
            factor=100,
            worse="higher",
            loss_clause="The squared error on targets rises by {}",
            gain_clause="The squared error on targets falls by {}",
            meaning="the mean squared difference to the recorded targets; its change is relative",
        ),
        "ctc_error_rate": _share(
            "CTC error rate",
            "insertions, deletions and substitutions for 100 symbols of the recorded targets, "
            "with the likeliest class of every step, repeats as one and without blanks",
            "higher",
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
        "runs where there are few, original and variant always on the same ones."
    ),
    probed="squared relative change of the outputs",
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
            "published_tokens",
            "rotate_embedding",
            "start",
            "start_token",
            "strength",
            "unit",
        )
    ),
)
