"""Names of the metrics that a graph's recipe may ask for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

COMMAND = "command:"
"""Prefix of an evaluation's name where it is used as a metric."""
EVALUATION_NAME = r"[a-z0-9][a-z0-9_-]{0,31}"
METRIC_OF_GRAPHS = rf"^(output_change|argmax|mean_squared_error|cosine|{COMMAND}{EVALUATION_NAME})$"
GraphMetric = Annotated[str, Field(pattern=METRIC_OF_GRAPHS)]
