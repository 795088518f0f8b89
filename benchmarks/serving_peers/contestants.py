"""Who answers: each server's requirements, command line, path, and shape of requests and answers.

Each is set up as its documentation advises for throughput on one processor: one worker process, one
thread of ONNX Runtime, no access log, and what batching it has. Where a documentation leaves a
number open, the fastest of a few was taken: MLServer waits one millisecond for a batch, LitServe
for none, and BentoML's dispatcher is told of a latency that its answers stay below.

Legend: B batch, T steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from isslim.demo.ports import free_port

Ids = list[int]
SAME = (f"onnxruntime=={onnxruntime.__version__}", f"numpy=={np.__version__}")
"""The same runtime as ours: what is compared is the way to it."""
SCORE, TENSORS = "isslim /score", "isslim /v2"
UVICORN = ("uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0")


@dataclass(frozen=True)
class Door:
    """A path that scores texts of token ids.

    Attributes:
        path: of the URL.
        body: of a text's request, as JSON.
        read: the log-probabilities of an answer, read from JSON.
    """

    path: str
    body: Callable[[Ids], Any]
    read: Callable[[Any], Sequence[float]]


@dataclass(frozen=True)
class Peer:
    """A server that is compared with ours.

    Attributes:
        name: as it is shown.
        package: whose version is shown.
        requirements: of its environment, pinned.
        door: where it answers.
        command: of the server, from its interpreter, a folder for files, its port and the most
            texts of a run.
    """

    name: str
    package: str
    requirements: tuple[str, ...]
    door: Door
    command: Callable[[Path, Path, int, int], list[str]]


def our_doors(model: str, variant: str, start: int, widths: dict[str, int]) -> dict[str, Door]:
    """Ours, by name: texts scored, and the graph as it is, with all of its inputs.

    Args:
        model: id.
        variant: of the model.
        start: id of the token before a text.
        widths: of the graph's states, by name.
    """

    def texts(ids: Ids) -> dict[str, Any]:
        asked = {"model": model, "variants": [variant], "per_token": True}
        return asked | {"token_ids": [ids]}

    def tensors(ids: Ids) -> dict[str, Any]:
        steps = len(ids)
        inputs: list[tuple[str, str, list[int], list[int]]] = [
            ("tokens", "INT64", [steps, 1], [start, *ids[:-1]]),
            ("targets", "INT64", [steps, 1], ids),
            ("lengths", "INT32", [1], [steps]),
            ("positions", "INT64", [0, 2], []),
            *((name, "FP32", [1, 1, width], [0] * width) for name, width in widths.items()),
        ]
        return {
            "inputs": [
                dict(zip(("name", "datatype", "shape", "data"), each, strict=True))
                for each in inputs
            ],
            "outputs": [{"name": "token_log_probs"}],
        }

    return {
        SCORE: Door(
            "/score",
            texts,
            lambda answer: [
                each["log_prob"] for each in answer["variants"][0]["texts"][0]["tokens"]
            ],
        ),
        TENSORS: Door(f"/v2/models/{model}/versions/{variant}/infer", tensors, _first_output),
    }


def _program(module: str) -> Callable[[Path, Path, int, int], list[str]]:
    """The command of a server that is one of our modules."""
    line = f"from benchmarks.serving_peers.{module} import serve; serve()"
    return lambda python, *_: [str(python), "-c", line]


def _bentoml(python: Path, _: Path, port: int, __: int) -> list[str]:
    served = "benchmarks.serving_peers.bentoml_server:Scoring"
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return [str(python), "-m", "bentoml", "serve", served, *where]


def _mlserver(python: Path, work: Path, port: int, batch: int) -> list[str]:
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "parallel_workers": 0,
    }
    model = {
        "name": "scoring",
        "implementation": "benchmarks.serving_peers.mlserver_runtime.Scoring",
        "max_batch_size": batch,
        "max_batch_time": 0.001,
    }
    (work / "settings.json").write_text(json.dumps(settings))
    (work / "model-settings.json").write_text(json.dumps(model))
    return [str(python.with_name("mlserver")), "start", str(work)]


def _mlserver_body(ids: Ids) -> dict[str, Any]:
    tensor = {"name": "token_ids", "shape": [1, len(ids)], "datatype": "INT64", "data": ids}
    return {"inputs": [tensor]}


def _first_output(answer: Any) -> Sequence[float]:
    found: list[float] = answer["outputs"][0]["data"]
    return found


_PLAIN = Door("/predict", lambda ids: {"token_ids": ids}, lambda answer: answer["log_probs"])
PEERS = (
    Peer(
        "FastAPI",
        "fastapi",
        ("fastapi==0.165.0", *UVICORN, *SAME),
        _PLAIN,
        _program("fastapi_server"),
    ),
    Peer(
        "LitServe",
        "litserve",
        ("litserve==0.2.19", *UVICORN, *SAME),
        _PLAIN,
        _program("litserve_server"),
    ),
    Peer(
        "BentoML",
        "bentoml",
        ("bentoml==1.4.40", *UVICORN, *SAME),
        Door("/predict", lambda ids: {"token_ids": [ids]}, lambda answer: answer[0]),
        _bentoml,
    ),
    Peer(
        "MLServer",
        "mlserver",
        ("mlserver==1.7.1", *UVICORN, *SAME),
        Door("/v2/models/scoring/infer", _mlserver_body, _first_output),
        _mlserver,
    ),
)
"""All of them."""
