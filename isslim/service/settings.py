"""The service's settings, from `ISS_*` environment variables."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from isslim.store.settings import StoreSettings


class ServiceSettings(StoreSettings):
    """The store's settings and the service's own.

    Attributes:
        host: address to listen on.
        port: port to listen on.
        body_limit_bytes: largest body of a request that is not an upload.
        memory_limit_bytes: bytes of open graphs above which the least recently used model is
            closed.
        threads: threads of one inference run.
        runs_at_once: inference runs at the same time.
        waiting_limit: requests that may wait for a run; more are refused with 503.
        texts_limit: texts of one request.
        tokens_limit: tokens of one request.
        characters_limit: characters of one request; a text takes some hundred bytes of memory a
            character to be split.
        log_level: `INFO` logs every request; `WARNING` only what is wrong.
        entries_limit: log-probabilities of one answer, those of `top_k` included; numbers of a
            graph's outputs as JSON.
        question_tokens_limit: tokens of one question.
        context_tokens_limit: tokens of all contexts of one request.
        array_bytes_limit: what the inputs of one run of a graph may take in memory, and the outputs
            of one answer.
        graph_memory_bytes: what a run of a graph may take in its process.
        inspect_wait_seconds: how long `POST /inspect` waits for its answer before it says where to
            look for it.
        latency_limit_bytes: what one run of a latency comparison may take beside the weights.
    """

    model_config = SettingsConfigDict(env_prefix="ISS_", extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    port: int = 8000
    body_limit_bytes: int = 8 << 20
    memory_limit_bytes: int = 4 << 30
    threads: int = 1
    runs_at_once: int = Field(default_factory=lambda: max(1, os.cpu_count() or 1))
    waiting_limit: int = 64
    texts_limit: int = 256
    tokens_limit: int = 200_000
    characters_limit: int = 2_000_000
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"
    entries_limit: int = 500_000
    question_tokens_limit: int = 200
    context_tokens_limit: int = 50_000
    array_bytes_limit: int = 64 << 20
    graph_memory_bytes: int = 2 << 30
    inspect_wait_seconds: float = 60.0
    latency_limit_bytes: int = 128 << 20
