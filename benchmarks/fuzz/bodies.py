"""Damaged requests to a service in this process: JSON, forms, archives and tensors as bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from benchmarks.fuzz import seeds
from benchmarks.fuzz.mutations import TEXTS, damaged
from benchmarks.soak.models import GRAPH, READER
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.types.arrays import dump_npz

LANGUAGE = "load"
"""The name under which `benchmarks.service_overhead` publishes its language model."""
LONGEST_REFUSAL = 64 << 10
BUSY = (503, 504, 507)
"""Statuses from 500 on that say what the service lacks, and are no faults."""
_LENGTH = "inference-header-content-length"


class Fault(Exception):
    """An answer that no request may get."""


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    content: bytes
    headers: dict[str, str]


class Requests:
    """A service over a home, and requests to damage.

    Args:
        client: of the service.
        language: name of its language model.

    Attributes:
        good: requests that are answered.
    """

    def __init__(self, client: TestClient, language: str = LANGUAGE) -> None:
        self._client = client
        self.good = _good(language)
        self._contents = [asked.content for asked in self.good]

    def send(self, draw: random.Random) -> bool:
        """Sends a damaged request; returns whether it was accepted.

        Args:
            draw: decides everything.

        Raises:
            Fault: when the answer is a crash, too long, or no problem document.
        """
        asked = draw.choice(self.good)
        content = damaged(asked.content, self._contents, draw)
        headers = dict(asked.headers)
        if _LENGTH in headers and draw.random() < 0.3:
            headers[_LENGTH] = draw.choice(("-1", "99999999999999999999", "0", "1e3", "", "7"))
        elif draw.random() < 0.05:
            headers["content-encoding"] = draw.choice(("gzip", "deflate", "br", "x"))
        return self.answer(replace(asked, content=content, headers=headers))

    def answer(self, asked: Asked) -> bool:
        """Sends a request; returns whether it was accepted.

        Args:
            asked: what is sent.

        Raises:
            Fault: as `send`.
        """
        answer = self._client.request(
            asked.method, asked.path, content=asked.content, headers=asked.headers
        )
        if answer.status_code < 400:
            return True
        where = f"{asked.method} {asked.path}: {answer.status_code}"
        if answer.status_code >= 500 and answer.status_code not in BUSY:
            raise Fault(f"{where}: {answer.text[:500]}")
        if len(answer.content) > LONGEST_REFUSAL:
            raise Fault(f"{where}: a refusal of {len(answer.content):,} bytes")
        if "json" not in answer.headers.get("content-type", ""):
            raise Fault(f"{where}: a refusal as {answer.headers.get('content-type')}")
        answer.json()
        return False


@contextmanager
def requests_to(home: Path, language: str = LANGUAGE) -> Iterator[Requests]:
    """A service in this process.

    Args:
        home: with the models of `benchmarks.soak.models.first_models`.
        language: name of its language model.
    """
    settings = ServiceSettings(home=home, run_seconds=5)
    with TestClient(
        create_app(settings), base_url="http://127.0.0.1", raise_server_exceptions=False
    ) as client:
        yield Requests(client, language)


def _good(language: str) -> list[Asked]:
    texts: list[tuple[str, str, Any]] = [
        ("POST", "/score", {"model": language, "texts": ["w1 w2", "w3"], "variants": ["original"]}),
        ("POST", "/generate", {"model": language, "prompt": "w1 w2", "max_tokens": 4, "seed": 1}),
        ("POST", "/v1/completions", {"model": language, "prompt": "w1 w2", "max_tokens": 3}),
        ("POST", "/tokenize", {"model": language, "prompt": "w1 w2"}),
        ("POST", "/qa", {"model": READER, "question": "who sat?", "context": "the cat sat."}),
        ("POST", f"/models/{GRAPH}/run", {"inputs": {"ids": [[1, 2], [3, 4]]}}),
        ("PUT", "/aliases/prod", {"model": language}),
        (
            "POST",
            f"/v2/models/{GRAPH}/infer",
            {
                "inputs": [
                    {"name": "ids", "shape": [2, 2], "datatype": "INT64", "data": [1, 2, 3, 4]}
                ]
            },
        ),
    ]
    as_json = {"content-type": "application/json"}
    found = [
        Asked(method, path, json.dumps(body).encode(), as_json) for method, path, body in texts
    ]
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "ids",
                    "shape": [2, 2],
                    "datatype": "INT64",
                    "parameters": {"binary_data_size": 32},
                }
            ]
        }
    ).encode()
    tensor = np.arange(4, dtype=np.int64).tobytes()
    binary = {"content-type": "application/octet-stream", _LENGTH: str(len(header))}
    found.append(Asked("POST", f"/v2/models/{GRAPH}/infer", header + tensor, binary))
    npz = dump_npz({"ids": np.arange(4).reshape(2, 2)})
    found.append(Asked("POST", f"/models/{GRAPH}/run", npz, {"content-type": "application/x-npz"}))
    return [*found, *_forms()]


def _forms() -> list[Asked]:
    """Uploads; without a budget that a language model has, so that few become jobs."""
    bound = {"content-type": "multipart/form-data; boundary=edge"}
    parts = {
        'name="model"; filename="model.safetensors"': seeds.checkpoints()[0],
        'name="vocabulary"; filename="words.txt"': seeds.vocabularies()[0],
        'name="options"': seeds.recipes()[0],
        'name="other"': TEXTS[7].encode(),
    }
    content = b"".join(
        f"--edge\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + body + b"\r\n"
        for head, body in parts.items()
    )
    form = content + b"--edge--\r\n"
    return [Asked("POST", path, form, bound) for path in ("/compress", "/inspect")]
