"""What a peer's server runs: the graph, by ONNX Runtime on one thread.

It is imported in the environments of the peers, so it needs ONNX Runtime and NumPy alone.

Legend: B batch, T steps, H units of a state.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import onnxruntime

GRAPH, START, PORT, BATCH = "SCORING_GRAPH", "SCORING_START", "SCORING_PORT", "SCORING_BATCH"
"""Variables of a server's environment: a file, a token id, a port, the most texts of a run."""
_TEXT_INPUTS = ("tokens", "targets", "lengths", "positions")


class ScoringGraph:
    """A language model's scoring graph (`isslim/runtime/contract.py`), from the environment."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            os.environ[GRAPH], options, providers=["CPUExecutionProvider"]
        )
        self._start = int(os.environ[START])
        self._widths = {
            each.name: each.shape[-1]
            for each in self._session.get_inputs()
            if each.name not in _TEXT_INPUTS
        }

    def log_probs(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Natural log-probabilities of the tokens of each text, all of them in one run.

        Args:
            texts: B of them, each of at least one token id; they may be of unequal lengths.
        """
        lengths = np.array([len(each) for each in texts], np.int32)
        targets = np.zeros((lengths.max(), len(texts)), np.int64)
        for index, each in enumerate(texts):
            targets[: len(each), index] = each
        feed = {
            "tokens": np.concatenate([np.full((1, len(texts)), self._start), targets[:-1]]),
            "targets": targets,
            "lengths": lengths,
            "positions": np.empty((0, 2), np.int64),
        } | {
            name: np.zeros((1, len(texts), width), np.float32)
            for name, width in self._widths.items()
        }
        (found,) = self._session.run(["token_log_probs"], feed)
        return [
            row[:length].tolist() for row, length in zip(found.T, lengths.tolist(), strict=True)
        ]
