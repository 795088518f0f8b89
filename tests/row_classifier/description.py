"""What a row classifier is called, how it is evaluated, and how it is described."""

from __future__ import annotations

from isslim.types.kinds import registry
from isslim.types.kinds.description import (
    MASKED_REFERENCE,
    KindDescription,
    Served,
    Usage,
    usual_run_label,
)
from isslim.types.kinds.metric_format import PERCENT, MetricFormat
from isslim.types.recipe import Budget

ROWS = KindDescription(
    name="row-classifier",
    title="classifier of rows",
    architectures=("tanh-row-classifier",),
    metrics={
        "row_accuracy": MetricFormat(
            "accuracy",
            "fall of accuracy",
            "{:.2%}".format,
            PERCENT,
            "fall of accuracy (%)",
            factor=100,
            worse="lower",
            loss_clause="Accuracy falls by {}",
            gain_clause="Accuracy rises by {}",
        )
    },
    default_budget=Budget(loss=0.02),
    budget_phrase=lambda limit, _: f"a fall of accuracy by at most {100 * limit:g} points",
    endpoint="POST /classify",
    run_label=lambda _, batch, __: usual_run_label("row of", 1, batch).replace(
        "1 token", "numbers"
    ),
    step="row",
    reference_note=MASKED_REFERENCE,
    interval_note="",
    usage=lambda served: usage(served),
)


def usage(served: Served) -> Usage:
    """How a classifier is asked."""
    return Usage("How it is asked", "classify", {"model": served.name, "rows": [[0.0, 1.0]]})


def register() -> None:
    """Makes the kind known."""
    registry.register(ROWS)
