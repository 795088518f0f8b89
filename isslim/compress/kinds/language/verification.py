"""Verification of language models: what was compared, the largest error, and its tolerance.

1. The pruned model equals the masked reference: the repaired full-size model with the removed
   components held at zero (torch, carried state).
2. Each float32 graph in ONNX Runtime equals its torch model (carried state over several runs).

A difference above the tolerance raises, and nothing is published.

Legend: B batch, T steps.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from isslim.compress.errors import VerificationFailed
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.training.evaluation import in_streams
from isslim.runtime.language.session import LanguageSession
from isslim.types.manifest import CheckRecord

TOLERANCE = 1e-4
"""Largest absolute difference of a token's log-probability, in nats: float32 sums in different
orders."""
STREAMS, STEPS, RUNS = 4, 35, 3


def verify_removal(pruned: LanguageModel, reference: LanguageModel, tokens: Tensor) -> CheckRecord:
    """Verifies the pruned model against the masked reference, with carried state.

    Args:
        pruned: the small model.
        reference: of full size, every slice of the removed components zero.
        tokens: int64 (N,), at least `2 * STREAMS`.

    Raises:
        VerificationFailed: when a log-probability differs by more than `TOLERANCE`.
    """
    rows = _rows(tokens)
    return _record(
        "pruned = masked reference",
        f"log-probabilities of {rows[1:].numel():,} tokens, state carried over {RUNS} runs",
        _torch_scores(pruned, rows),
        _torch_scores(reference, rows),
    )


def verify_graph(
    session: LanguageSession, network: LanguageModel, tokens: Tensor, name: str
) -> CheckRecord:
    """Verifies an exported float32 graph in ONNX Runtime against its torch model.

    Args:
        session: of the graph.
        network: the model that it was written from.
        tokens: int64 (N,), at least `2 * STREAMS`.
        name: of the variant.

    Raises:
        VerificationFailed: when a log-probability differs by more than `TOLERANCE`.
    """
    rows = _rows(tokens)
    state = session.zero_state(rows.shape[1])
    lengths = np.full(rows.shape[1], 0, np.int32)
    scores = []
    for start in range(0, len(rows) - 1, STEPS):
        targets = rows[start + 1 : start + STEPS + 1].numpy()
        lengths[:] = len(targets)
        found, _, state = session.run(
            rows[start : start + len(targets)].numpy(), targets, lengths, state
        )
        scores.append(found)
    return _record(
        f"ONNX Runtime = torch ({name})",
        f"log-probabilities of {rows[1:].numel():,} tokens, state carried over {RUNS} runs",
        np.concatenate(scores),
        _torch_scores(network, rows),
    )


def _rows(tokens: Tensor) -> Tensor:
    return in_streams(tokens[: STREAMS * (STEPS * RUNS + 1)], STREAMS)  # (T, B)


@torch.no_grad()
def _torch_scores(network: LanguageModel, rows: Tensor) -> np.ndarray:
    state = network.zero_state(rows.shape[1])
    scores = []
    for start in range(0, len(rows) - 1, STEPS):
        targets = rows[start + 1 : start + STEPS + 1]
        logits, state = network(rows[start : start + len(targets)], state)
        scores.append(logits.log_softmax(dim=-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1))
    return torch.cat(scores).numpy()


def _record(name: str, detail: str, found: np.ndarray, expected: np.ndarray) -> CheckRecord:
    error = float(np.abs(found - expected).max())
    if not error <= TOLERANCE:  # NaN fails too
        raise VerificationFailed(
            f"{name}: the largest difference is {error:.2e}, the tolerance {TOLERANCE:.0e}; "
            "nothing was published"
        )
    return CheckRecord(name=name, detail=detail, error=error, tolerance=TOLERANCE)
