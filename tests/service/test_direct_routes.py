"""Runs of models that reach their functions directly are answered as the framework's routes are."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.testclient import TestClient
from httpx import Response as Answer
from starlette.types import Receive, Scope, Send

from isslim.service.direct_routes import DirectRoutes, direct_routes
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests.conftest import Published

PATHS = {"/score", "/generate", "/qa", "/v1/completions", "/health/live"}
REQUESTS = {
    "score": ("POST", "/score", {"json": {"model": "tiny", "texts": ["the cat"]}}),
    "text": ("POST", "/generate", {"json": {"model": "tiny", "prompt": "the", "seed": 1}}),
    "events": (
        "POST",
        "/generate",
        {"json": {"model": "tiny", "prompt": "the", "seed": 1, "stream": True, "max_tokens": 2}},
    ),
    "completion": ("POST", "/v1/completions", {"json": {"model": "tiny", "prompt": "a", "n": 9}}),
    "health": ("GET", "/health/live", {}),
    "head of health": ("HEAD", "/health/live", {}),
    "query of health": ("GET", "/health/live?x=1", {}),
    "no model": ("POST", "/score", {"json": {"model": "nope", "texts": ["a"]}}),
    "no field": ("POST", "/score", {"json": {"model": "tiny", "texts": ["a"], "x": 1}}),
    "no JSON": ("POST", "/score", {"content": "{", "headers": {"content-type": "text/json"}}),
    "no UTF-8": (
        "POST",
        "/score",
        {"content": b"\xff", "headers": {"content-type": "application/json"}},
    ),
    "too large": ("POST", "/score", {"content": b"1" * 2_000_000}),
    "query": ("POST", "/score?x=1", {"json": {"model": "tiny", "texts": ["a"]}}),
    "method": ("GET", "/score", {}),
    "slash": ("POST", "/score/", {"json": {"model": "tiny", "texts": ["a"]}}),
    "line break": ("POST", "/score%0A", {"json": {"model": "tiny", "texts": ["a"]}}),
    "no questions": ("POST", "/qa", {"json": {"model": "tiny", "inputs": []}}),
}


@pytest.fixture(scope="module")
def direct(published: Published) -> Iterator[TestClient]:
    app = create_app(ServiceSettings(home=published.settings.home, body_limit_bytes=1_000_000))
    with TestClient(app) as made:
        yield made


@pytest.fixture(scope="module")
def routed(published: Published) -> Iterator[TestClient]:
    """The same service, where the framework routes every request."""
    app = create_app(ServiceSettings(home=published.settings.home, body_limit_bytes=1_000_000))
    app.router.middleware_stack = app.router.app
    with TestClient(app) as made:
        yield made


def seen(answer: Answer) -> tuple[int, dict[str, str], str]:
    """An answer without what differs from request to request."""
    varying = {"x-request-id", "server-timing", "content-length"}
    headers = {name: value for name, value in answer.headers.items() if name not in varying}
    text = re.sub(r'"(\w+_ms|speedup|id|created|request_id)":[^,}]*', r'"\1":0', answer.text)
    return answer.status_code, headers, text


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS.keys())
def test_answer_is_the_same_as_through_the_framework(
    asked: tuple[str, str, dict[str, object]], direct: TestClient, routed: TestClient
) -> None:
    method, path, options = asked
    answers = [
        each.request(method, path, follow_redirects=False, **options)  # type: ignore[arg-type]
        for each in (direct, routed)
    ]
    assert seen(answers[0]) == seen(answers[1])


def test_requests_are_counted_under_the_same_route(direct: TestClient, routed: TestClient) -> None:
    for client in (direct, routed):
        client.post("/score", json={"model": "nope", "texts": ["a"]})
        labels = 'http_request_method="POST",http_response_status_code="404",http_route="/score"'
        counted = f"count{{{labels}}}"
        assert counted in client.get("/metrics").text


def test_framework_would_choose_the_same_functions(direct: TestClient) -> None:
    app = direct.app
    assert isinstance(app, FastAPI)
    stack = app.router.middleware_stack
    assert isinstance(stack, DirectRoutes)
    assert {path for _, path in stack._routes} == PATHS
    for (method, path), route in stack._routes.items():
        scope = {"type": "http", "method": method, "path": path, "root_path": "", "app": app}
        (first, *_) = (
            context
            for each in app.routes
            for context in getattr(each, "effective_route_contexts", list)()
            if context.path_regex.match(path) and method in context.methods
        )
        assert first.endpoint is route.endpoint, scope


def test_functions_that_want_more_than_the_request_are_routed() -> None:
    router = APIRouter()

    async def nothing() -> None:
        """A dependency."""

    @router.post("/direct")
    async def takes_a_request(http: Request) -> Response:
        return Response()

    @router.post("/of/{name}")
    async def has_a_path(http: Request) -> Response:
        return Response()

    @router.post("/dependency", dependencies=[Depends(nothing)])
    async def depends(http: Request) -> Response:
        return Response()

    @router.post("/parameter")
    async def has_a_parameter(http: Request, x: int) -> Response:
        return Response()

    @router.post("/value")
    async def returns_a_value(http: Request) -> dict[str, int]:
        return {}

    @router.post("/plain")
    def is_no_coroutine(http: Request) -> Response:
        return Response()

    assert list(direct_routes(router.routes)) == [("POST", "/direct")]


async def ask_below(root: str, routes: DirectRoutes) -> None:
    async def nothing(*_: object) -> None:
        """Neither a body nor an answer."""

    scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "root_path": root}
    await routes(scope, nothing, nothing)  # type: ignore[arg-type]


def test_path_below_another_root_is_the_frameworks() -> None:
    asked = list[str]()

    async def framework(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["root_path"])

    router = APIRouter()

    @router.post("/x")
    async def answer(http: Request) -> Response:
        return Response()

    routes = DirectRoutes(framework, direct_routes(router.routes))
    for root in ("", "/below"):
        asyncio.run(ask_below(root, routes))
    assert asked == ["/below"]
