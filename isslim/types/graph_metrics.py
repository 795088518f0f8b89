"""Names of the metrics that a graph's recipe may ask for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

COMMAND = "command:"
"""Prefix of an evaluation's name where it is used as a metric."""
EVALUATION_NAME = r"[a-z0-9][a-z0-9_-]{0,31}"
COMPARING = ("output_change", "argmax", "mean_squared_error", "cosine")
"""Metrics that compare outputs with the original's."""
DECIDING = ("accuracy", "f1_binary", "f1_macro")
ON_TARGETS = (*DECIDING, "auc", "target_squared_error", "ctc_error_rate")
"""Metrics that compare outputs with targets, which are recorded beside the inputs; of these
`DECIDING` need a decision for each."""
METRIC_OF_GRAPHS = rf"^({'|'.join((*COMPARING, *ON_TARGETS))}|{COMMAND}{EVALUATION_NAME})$"
GraphMetric = Annotated[str, Field(pattern=METRIC_OF_GRAPHS)]
