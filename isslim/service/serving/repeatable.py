"""Requests that can be answered again by another variant, to compare both answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isslim.runtime.bundle import LoadedModel
from isslim.service.serving.batching import Job


@dataclass(frozen=True)
class Outcome:
    """What is compared of a variant's answer.

    Attributes:
        log_prob: mean log-probability per token, nats; None: it has none.
        decisions: the most likely token at every position, or the answer to every question.
        run_ms: milliseconds of its runs.
    """

    log_prob: float | None
    decisions: tuple[object, ...]
    run_ms: float

    def against(self, own: Outcome) -> dict[str, float]:
        """The figures of a comparison (`isslim/store/comparisons.py`).

        Args:
            own: the outcome of what the alias points at.
        """
        difference, change, same = self.compared(own)
        ratio = math.log(max(self.run_ms, 1e-6) / max(own.run_ms, 1e-6))
        return {"difference": difference, "change": change, "same": same, "log_time_ratio": ratio}

    def compared(self, own: Outcome) -> tuple[float, float, float]:
        """The difference of log-probabilities (0 without them), the change, the same decisions.

        Args:
            own: the outcome of what the alias points at.
        """
        pairs = list(zip(self.decisions, own.decisions, strict=False))
        most = max(len(self.decisions), len(own.decisions), 1)
        same = 1.0 if not pairs else sum(one == other for one, other in pairs) / most
        if self.log_prob is None or own.log_prob is None:
            return 0.0, 1.0 - same, same
        difference = self.log_prob - own.log_prob
        return difference, abs(difference), same


@dataclass(frozen=True)
class Repeatable:
    """A request that was answered.

    Attributes:
        kind: of the models that can answer it.
        device: where it ran.
        run: the job that answers it with a variant's session of a model.
        in_own_process: whether that session is the variant's process.
    """

    kind: type[LoadedModel[Any]]
    device: str
    run: Callable[[Any, Any], Job[Outcome]]
    in_own_process: bool = False
