"""Clients of a soak: one request after the other each, of every kind, and what was answered.

The answers are known: every model is a copy of one of three, whose answers were asked for before.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.soak.models import GRAPH, LANGUAGE, READER, STEPS, VOCABULARY, WORDS

TIMEOUT_SECONDS, IDLE_SECONDS, MAX_ERRORS = 120.0, 2.0, 100
DUE = {"overloaded", "deadline-exceeded"}
"""Kinds of problems that a service under load may answer, with 503 and 504."""
PROD = {LANGUAGE: "words-prod", GRAPH: "tagger-prod", READER: "reader-prod"}
"""Aliases that the clients ask."""
VARIANTS = ("original", "compressed", "compressed-int8")
RELATIVE, ABSOLUTE = 1e-4, 1e-5
"""Tolerances of answers: a float32 text may share its run with others."""

Body = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """A request whose answer is known.

    Attributes:
        kind: of the request, for the error that names it.
        path: of the URL.
        body: as JSON.
        read: what is compared, from the answer's text.
    """

    kind: str
    path: str
    body: Body
    read: Callable[[str], Any]


@dataclass
class Counts:
    """What was answered; safe to use from several threads.

    Attributes:
        answers: by status.
        errors: what should not have been, in words.
    """

    answers: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    more_errors: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, status: str, error: str | None) -> None:
        """Counts an answer.

        Args:
            kind: of the request.
            status: of the answer, or the name of a connection's error.
            error: what is wrong with it; None: nothing.
        """
        with self._lock:
            self.answers[status] += 1
            self.kinds[kind] += 1
            if error is not None and len(self.errors) < MAX_ERRORS:
                self.errors.append(f"{kind}: {error}")
            elif error is not None:
                self.more_errors += 1


class Client:
    """A connection that is kept open, and opened again where it ended.

    Args:
        url: of the service.
    """

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._made = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=TIMEOUT_SECONDS
        )
        self._used = 0.0

    def ask(self, method: str, path: str, body: Body | None = None) -> tuple[int, str]:
        """Status and text of an answer.

        Args:
            method: such as `POST`.
            path: with the query.
            body: as JSON; None: none.

        Raises:
            OSError: when there is no answer.
            http.client.HTTPException: when it ends early, or is none of HTTP.
        """
        # The service may close a connection that is idle; one in use it may not.
        if time.monotonic() > self._used + IDLE_SECONDS:
            self._made.close()
        try:
            content = None if body is None else json.dumps(body)
            self._made.request(method, path, content, {"content-type": "application/json"})
            answer = self._made.getresponse()
            said = answer.read().decode()
        except (OSError, http.client.HTTPException):
            self._made.close()
            raise
        self._used = time.monotonic()
        return answer.status, said

    def close(self) -> None:
        """Ends the connection."""
        self._made.close()


def questions(states: Mapping[str, Sequence[tuple[str, str, list[int]]]]) -> list[Question]:
    """Requests of every kind to the aliases, each naming a variant.

    Args:
        states: of each variant of the language model, the graph's states: name, type and shape.
    """
    generator = np.random.default_rng(1)
    made: list[Question] = []
    for variant in VARIANTS:
        for _ in range(3):
            ids = generator.integers(2, VOCABULARY, int(generator.integers(5, 40))).tolist()
            text = " ".join(f"w{each - 2}" for each in ids)
            made += _of_language(variant, text, ids, states[variant])
            words = generator.integers(0, WORDS, (STEPS, 2)).tolist()
            made += _of_graph(variant, words)
            made.append(_of_reader(variant, int(generator.integers(1, 60))))
    return made


def _of_language(
    variant: str, text: str, ids: list[int], states: Sequence[tuple[str, str, list[int]]]
) -> list[Question]:
    alias = PROD[LANGUAGE]
    asked = {"model": alias, "variants": [variant]}
    written = asked | {"prompt": text, "max_tokens": 12, "temperature": 0}
    steps = len(ids) - 1
    inputs: list[tuple[str, str, list[int], list[int]]] = [
        ("tokens", "INT64", [steps, 1], ids[:-1]),
        ("targets", "INT64", [steps, 1], ids[1:]),
        ("lengths", "INT32", [1], [steps]),
        ("positions", "INT64", [0, 2], []),
        *((name, kind, shape, [0] * int(np.prod(shape))) for name, kind, shape in states),
    ]
    return [
        Question(
            "/score", "/score", asked | {"texts": [text, text]},
            lambda said: [each["log_prob"] for each in json.loads(said)["variants"][0]["texts"]],
        ),
        Question(
            "/generate", "/generate", written,
            lambda said: json.loads(said)["variants"][0]["text"],
        ),
        Question("/generate, a stream", "/generate", written | {"stream": True}, _streamed),
        Question(
            "/v1/completions", "/v1/completions",
            {"model": f"{alias}:{variant}", "prompt": text, "max_tokens": 8, "temperature": 0},
            lambda said: json.loads(said)["choices"][0]["text"],
        ),
        Question(
            "/v2, a language model", f"/v2/models/{alias}/versions/{variant}/infer",
            _tensors(inputs, "token_log_probs"), _data,
        ),
    ]  # fmt: skip


def _of_graph(variant: str, words: list[list[int]]) -> list[Question]:
    alias = PROD[GRAPH]
    tensor = ("ids", "INT64", [len(words), len(words[0])], [each for row in words for each in row])
    return [
        Question(
            "/run", f"/models/{alias}/run", {"inputs": {"ids": words}, "variants": [variant]},
            lambda said: json.loads(said)["variants"][0]["outputs"]["scores"],
        ),
        Question(
            "/v2, a graph", f"/v2/models/{alias}/versions/{variant}/infer",
            _tensors([tensor], "scores"), _data,
        ),
    ]  # fmt: skip


def _of_reader(variant: str, sentences: int) -> Question:
    context = " ".join(["the cat sat on the mat . a dog slept under the tree ."] * sentences)
    body = {"model": PROD[READER], "question": "who slept ?", "context": context}
    return Question("/qa", "/qa", body | {"variants": [variant]}, _spans)


def _spans(said: str) -> Any:
    (answer,) = json.loads(said)["variants"][0]["answers"]
    return [answer["answer"], answer["score"]]


def _streamed(said: str) -> str:
    """The data of its last event, without its times."""
    if "event: error" in said:
        raise ValueError(said[-500:])
    last = said.strip().split("\n\n")[-1].partition("data: ")[2]
    text: str = json.loads(last)["variants"][0]["text"]
    return text


def _tensors(inputs: Sequence[tuple[str, str, Sequence[int], Sequence[int]]], output: str) -> Body:
    names = ("name", "datatype", "shape", "data")
    return {
        "inputs": [dict(zip(names, each, strict=True)) for each in inputs],
        "outputs": [{"name": output}],
    }


def _data(said: str) -> Any:
    return json.loads(said)["outputs"][0]["data"]


def same(found: Any, expected: Any) -> bool:
    """Whether two answers are equal: texts exactly, numbers within the tolerance.

    Args:
        found: texts, numbers, and lists of them.
        expected: the same.
    """
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(same(one, other) for one, other in zip(found, expected, strict=True))
        )
    if isinstance(expected, float | int):
        return bool(np.isclose(found, expected, rtol=RELATIVE, atol=ABSOLUTE))
    return bool(found == expected)


def due(status: int, said: str, allowed: Sequence[int] = ()) -> bool:
    """Whether a refusal is one that the state of the service explains.

    Args:
        status: of the answer.
        said: its text.
        allowed: further statuses that are.
    """
    return status in allowed or (status in (503, 504) and any(each in said for each in DUE))


def client(
    url: str,
    asked: Sequence[tuple[Question, Any]],
    short_lived: Callable[[], str | None],
    counts: Counts,
    done: threading.Event,
    seed: int,
) -> None:
    """Sends requests until it is told to end.

    Args:
        url: of the service.
        asked: requests with their answers.
        short_lived: id of a model that may be deleted at any time; None: there is none now.
        counts: of the answers.
        done: ends it.
        seed: of its choices.
    """
    chance, connection = random.Random(seed), Client(url)
    kinds = sorted({question.kind for question, _ in asked})
    by_kind = {kind: [each for each in asked if each[0].kind == kind] for kind in kinds}
    while not done.is_set():
        kind, model = chance.choice([*kinds, ""]), short_lived()
        question, expected = chance.choice(by_kind[kind or "/score"])
        body, allowed = question.body, list[int]()
        if not kind:
            if model is None:
                continue
            kind, body, allowed = "/score by id", body | {"model": model}, [404]
        try:
            status, said = connection.ask("POST", question.path, body)
            counts.add(kind, str(status), _wrong(question, status, said, expected, allowed))
        except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
            if not done.is_set():
                name = type(error).__name__
                counts.add(kind, name, f"{name}: {error}")
    connection.close()


def _wrong(
    question: Question, status: int, said: str, expected: Any, allowed: Sequence[int]
) -> str | None:
    if status != 200:
        return None if due(status, said, allowed) else f"{status} {said[:500]}"
    found = question.read(said)
    return None if same(found, expected) else f"{found!r:.200} instead of {expected!r:.200}"
