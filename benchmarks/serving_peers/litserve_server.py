"""LitServe: what waits is one run (`batch_timeout` 0: nothing is waited for)."""

import os
from typing import Any

import litserve
from fastapi import Request

from benchmarks.serving_peers.scoring_graph import BATCH, PORT, ScoringGraph


class Scoring(litserve.LitAPI):  # type: ignore[misc]
    """Decodes, runs in batches, encodes; the methods are LitServe's."""

    def setup(self, device: str) -> None:
        """Opens the graph, in the worker's process."""
        self.graph = ScoringGraph()

    def decode_request(self, request: Request) -> list[int]:
        """The token ids of one request, whose JSON LitServe has read: its type means just that."""
        ids: list[int] = request["token_ids"]
        return ids

    def batch(self, inputs: list[list[int]]) -> list[list[int]]:
        """All of them."""
        return inputs

    def predict(self, batch: Any) -> Any:
        """Runs a batch; without batching one request."""
        if self.max_batch_size == 1:
            return self.graph.log_probs([batch])[0]
        return self.graph.log_probs(batch)

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        """One answer each."""
        return output

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        """The answer of one request."""
        return {"log_probs": output}


def serve() -> None:
    """Answers until it is ended."""
    server = litserve.LitServer(
        Scoring(max_batch_size=int(os.environ[BATCH]), batch_timeout=0.0),
        accelerator="cpu",
        workers_per_device=1,
        timeout=False,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ[PORT]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
