"""A bare FastAPI: one endpoint that is a `def`, so that it runs in the framework's threads.

Answers are written by pydantic, as FastAPI advises for speed; one run a request.
"""

from __future__ import annotations

import os

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.serving_peers.scoring_graph import PORT, ScoringGraph


class Text(BaseModel):
    """A request."""

    token_ids: list[int]


class Scores(BaseModel):
    """Its answer."""

    log_probs: list[float]


def app() -> FastAPI:
    """The server's application."""
    made, graph = FastAPI(), ScoringGraph()

    @made.post("/predict")
    def predict(text: Text) -> Scores:
        (found,) = graph.log_probs([text.token_ids])
        return Scores(log_probs=found)

    return made


def serve() -> None:
    """Answers until it is ended."""
    uvicorn.run(app(), host="127.0.0.1", port=int(os.environ[PORT]), log_level="warning")
