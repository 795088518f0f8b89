"""The child's side of a comparison: one variant of a model, asked by lines of JSON.

Requests come on standard input and are answered on standard output, one line each; what libraries
print goes to standard error. A request names what to `do`: `open`, `score`, `time`; an answer holds
the result, or `error`.

Legend: B batch, T steps.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

CHUNK_STEPS = 64
BURST, WARM_SECONDS = 3, 0.005


class Scorer(Protocol):
    """A variant that is ready to run."""

    def zero_state(self, batch: int) -> Any:
        """The state before a text, for B sequences."""

    def run(
        self, tokens: NDArray[np.int64], targets: NDArray[np.int64], state: Any
    ) -> tuple[NDArray[np.float32], Any]:
        """Log-probabilities (T, B) of the targets (T, B) after the tokens (T, B), and the state."""


@dataclass(frozen=True)
class Opened:
    """A variant with its file.

    Attributes:
        scorer: ready to run.
        file: what would be shipped.
        note: what a reader of its row should know.
    """

    scorer: Scorer
    file: Path
    note: str = ""


def serve(open_variant: Callable[[Mapping[str, Any]], Opened]) -> None:
    """Answers requests until standard input ends.

    Args:
        open_variant: opens the variant that the settings of `open` describe.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    opened: Opened | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "open":
                opened = open_variant(request)
                megabytes = opened.file.stat().st_size / 1e6
                answer: dict[str, Any] = {"file_mb": megabytes, "note": opened.note}
            elif opened is None:
                raise ValueError(f"'{request['do']}' before 'open'")
            elif request["do"] == "score":
                ids = np.load(request["text"])
                answer = {"perplexity": perplexity(opened.scorer, ids)}
            else:
                steps, batch = request["shape"]
                answer = timed(opened.scorer, steps, batch, request["vocabulary"])
        except Exception as error:  # another tool may raise anything: its row says what
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def perplexity(scorer: Scorer, ids: NDArray[np.int64]) -> float:
    """Perplexity of a text as one stream; its first token is given.

    Args:
        scorer: the variant.
        ids: int64 (N,), at least two tokens.
    """
    state, total = scorer.zero_state(1), 0.0
    tokens, targets = ids[:-1, None], ids[1:, None]
    for first in range(0, len(tokens), CHUNK_STEPS):
        part = slice(first, first + CHUNK_STEPS)
        found, state = scorer.run(tokens[part], targets[part], state)
        total += float(found.sum(dtype=np.float64))
    return math.exp(-total / len(tokens))


def timed(scorer: Scorer, steps: int, batch: int, vocabulary: int) -> dict[str, Any]:
    """Times a few runs on random tokens, after some that are not counted.

    Args:
        scorer: the variant.
        steps: T.
        batch: B.
        vocabulary: number of tokens.

    Returns:
        Milliseconds: `wall` of each run, and the least `cpu` time of the process.
    """
    generator = np.random.default_rng(0)
    tokens, targets = generator.integers(0, vocabulary, (2, steps, batch))
    state = scorer.zero_state(batch)

    def once() -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        scorer.run(tokens, targets, state)
        return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)

    began = time.process_time()
    once()
    while time.process_time() - began < WARM_SECONDS:
        once()
    runs = [once() for _ in range(BURST)]
    return {"wall": [wall for wall, _ in runs], "cpu": min(cpu for _, cpu in runs)}
