"""Large bodies: refused in few words and bounded memory, while others are answered."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.serving_load import watched
from isslim.service.bodies import CHUNK_BYTES, ValueCounts, count_values
from isslim.service.large_bodies import LARGE_AT_ONCE
from isslim.types.arrays import dump_npz
from tests.conftest import Published
from tests.service.served import served
from tests.service.test_routes import problem
from tests.service.test_shutdown import connected

JSON = {"content-type": "application/json"}
MEGABYTE = 1 << 20
LIVE_SECONDS = 1.0
"""That a look at the service's health may take meanwhile, on a machine that does other things."""
MEMORY_BYTES = 700 << 20
"""That the largest of these bodies may take beside what the service has."""


@pytest.fixture(scope="module")
def service(published: Published) -> Iterator[served]:
    made = served(published.settings.home, {})
    with made:
        yield made


def ones(size: int) -> bytes:
    return b'{"model":"tiny","texts":[' + b"1," * (size // 2) + b"1]}"


BODIES = {
    "2 MB of no texts": ("/score", ones(2 * MEGABYTE)),
    "8 MB of no texts": ("/score", ones(8 * MEGABYTE - 100)),
    "token ids": ("/score", b'{"model":"tiny","token_ids":[[' + b"1," * 3_900_000 + b"1]]}"),
    "no token ids": ("/score", b'{"model":"tiny","token_ids":[[' + b'"",' * 60_000 + b"1]]}"),
    "empty lists": ("/score", b'{"model":"tiny","token_ids":[' + b"[]," * 2_600_000 + b"[]]}"),
    "one text": ("/score", b'{"model":"tiny","texts":["' + b"xyzzy " * 1_300_000 + b'"]}'),
    "texts": ("/score", b'{"model":"tiny","texts":[' + b'"the cat",' * 780_000 + b'"a"]}'),
    "variants": ("/score", b'{"model":"tiny","texts":["a"],"variants":[' + b"1," * 90_000 + b"1]}"),
    "no questions": ("/qa", b'{"model":"tiny","inputs":[' + b"{}," * 2_600_000 + b"{}]}"),
    "fields": ("/qa", b"{" + b",".join(b'"%d":1' % i for i in range(700_000)) + b"}"),
    "few fields": ("/qa", b"{" + b",".join(b'"%d":1' % i for i in range(6_000)) + b"}"),
    "numbers": ("/models/tiny/run", b'{"inputs":{"x":[' + b"12," * 2_600_000 + b"1]}}"),
    "lists": ("/models/tiny/run", b'{"inputs":{"x":[' + b"[]," * 190_000 + b"[]]}}"),
    "few lists": ("/models/tiny/run", b'{"inputs":{"x":[' + b"[]," * 99_000 + b"[]]}}"),
    "cut off": ("/score", ones(2 * MEGABYTE)[:-1000]),
}


@pytest.mark.parametrize("path_and_body", BODIES.values(), ids=BODIES.keys())
def test_refusal_is_short_and_stops_nobody(
    path_and_body: tuple[str, bytes], service: served
) -> None:
    path, body = path_and_body
    before = peak_bytes(service.process.pid)
    with watched(service.url) as seconds:
        time.sleep(0.05)
        answer = httpx.post(f"{service.url}{path}", content=body, headers=JSON, timeout=60)
        time.sleep(0.05)
    assert answer.status_code in (413, 422)
    found = problem(answer, answer.status_code, answer.json()["type"])
    assert len(answer.content) < 64_000
    assert len(found["errors"]) <= 21  # type: ignore[arg-type]
    assert max(seconds) < LIVE_SECONDS
    assert peak_bytes(service.process.pid) - before < MEMORY_BYTES


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def test_first_issues_are_sent_and_the_rest_counted(service: served) -> None:
    body = {"model": "tiny", "texts": [1] * 200}
    found = problem(httpx.post(f"{service.url}/score", json=body), 422, "invalid-request")
    errors = found["errors"]
    assert isinstance(errors, list)
    assert errors[0]["pointer"] == "/body/texts/0"
    assert [each["detail"] for each in errors[20:]] == ["and 180 more"]
    assert len(errors) == 21


def test_long_names_are_cut_in_refusals(service: served) -> None:
    name = "é" * 50_000  # twelve bytes a pair, written as ASCII
    for path, body in (
        ("/score", {"model": "tiny", "texts": ["a"], **{f"{name}{i}": 1 for i in range(2)}}),
        ("/models/tiny/run", {"inputs": {}, "variants": [name]}),
    ):
        answer = httpx.post(f"{service.url}{path}", json=body)
        problem(answer, 422, "invalid-request")
        assert len(answer.content) < 64_000


def slow_counts(text: str) -> ValueCounts:
    """One sign after the other."""
    commas = brackets = colons = 0
    inside = escaped = False
    for sign in text:
        if escaped:
            escaped = False
        elif sign == "\\":
            escaped = True
        elif sign == '"':
            inside = not inside
        elif not inside:
            commas += sign == ","
            brackets += sign in "[{"
            colons += sign == ":"
    return ValueCounts(commas + brackets + 1, brackets, colons)


VALUES = st.recursive(
    st.none() | st.integers() | st.text('a",:[]{}\\é'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('a",:[\\'), inner),
    max_leaves=30,
)


@given(VALUES, st.booleans())
def test_values_are_counted_as_one_by_one(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert count_values(text.encode()) == slow_counts(text)


@pytest.mark.parametrize("shift", range(4))
def test_values_are_counted_across_chunks(shift: int) -> None:
    """Quotes, and backslashes in odd and even numbers, on both sides of a border."""
    head = '{"a":["' + "x" * (CHUNK_BYTES - 10 - shift)
    for middle in ('\\\\\\\\\\"', '\\\\\\\\\\\\"', '"', '","', '\\\\","'):
        text = head + middle + ',[:{"' + "y" * 20 + '"]}'
        assert count_values(text.encode()) == slow_counts(text)


def npz_of(size: int) -> bytes:
    return dump_npz({"x": np.zeros(size, np.uint8)})


def test_run_may_be_as_large_as_its_arrays_and_stops_nobody(service: served) -> None:
    """Of the default limits: 64 MiB of arrays, which is eight times that of other bodies."""
    limit = 64 * MEGABYTE
    for body, status, kind in (
        (npz_of(limit), 422, "wrong-task"),  # read; then the model is no graph
        (npz_of(limit + 2 * MEGABYTE), 413, "too-large"),
        (b'{"inputs":{"x":[' + b" " * limit + b"1]}}", 422, "wrong-task"),
    ):
        headers = JSON if body.startswith(b"{") else {"content-type": "application/x-npz"}
        with watched(service.url) as seconds:
            time.sleep(0.05)
            url = f"{service.url}/models/tiny/run"
            answer = httpx.post(url, content=body, headers=headers, timeout=60)
            time.sleep(0.05)
        problem(answer, status, kind)
        assert max(seconds) < LIVE_SECONDS


def test_only_some_large_runs_are_held_at_once(service: served) -> None:
    """Each has sent more than an ordinary body may have, and no more."""
    head = (
        "POST /models/tiny/run HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-npz\r\n"
        f"content-length: {20 * MEGABYTE}\r\n\r\n"
    )
    url, large = f"{service.url}/models/tiny/run", npz_of(9 * MEGABYTE)
    kind = {"content-type": "application/x-npz"}
    with ExitStack() as stack:
        for _ in range(LARGE_AT_ONCE):
            sender = stack.enter_context(connected(service.url))
            sender.sendall(head.encode() + bytes(9 * MEGABYTE))
        limit = time.monotonic() + 20
        while httpx.post(url, content=large, headers=kind).status_code != 503:
            assert time.monotonic() < limit
        answer = httpx.post(url, content=large, headers=kind)
        problem(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "1"
        problem(httpx.post(url, content=npz_of(100), headers=kind), 422, "wrong-task")
    limit = time.monotonic() + 20
    while httpx.post(url, content=large, headers=kind).status_code != 422:
        assert time.monotonic() < limit
