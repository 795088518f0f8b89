"""A runtime of MLServer, whose adaptive batching joins requests along the first axis."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.serving_peers.scoring_graph import ScoringGraph


class Scoring(MLModel):  # type: ignore[misc]
    """The graph as a model of MLServer; the methods are MLServer's."""

    async def load(self) -> bool:
        """Opens the graph."""
        self.graph = ScoringGraph()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Log-probabilities (B, N) of token ids (B, N)."""
        ids = NumpyCodec.decode_input(payload.inputs[0])
        found = np.array(self.graph.log_probs(ids.tolist()), np.float32)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("log_probs", found)]
        )
