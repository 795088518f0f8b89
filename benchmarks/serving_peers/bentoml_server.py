"""BentoML: a batchable endpoint, whose dispatcher chooses how long a batch is waited for."""

from __future__ import annotations

import os

import bentoml
import numpy as np
from numpy.typing import NDArray

from benchmarks.serving_peers.scoring_graph import BATCH, ScoringGraph

MOST = int(os.environ[BATCH])


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, traffic={"timeout": 600})
class Scoring:
    """One worker with the graph."""

    def __init__(self) -> None:
        self.graph = ScoringGraph()

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/predict", batchable=True, max_batch_size=MOST, max_latency_ms=60_000
    )
    def predict(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Log-probabilities (B, N) of token ids (B, N)."""
        return np.array(self.graph.log_probs(token_ids.tolist()), np.float32)
