"""Every request there is, without a key and with each scope; nothing is open by oversight."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from isslim.demo.ports import free_port
from isslim.service.access.permissions import GRPC, OPEN, Permissions
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.types.access import Scope
from tests.conftest import Published
from tests.service.access.conftest import Keys

OPEN_PATHS = re.compile(r"/|/docs|/openapi\.json|/(static|health|v2/health)/[^/]+|/ui(/.*)?")
"""All that may be asked without a key."""
HELD = {scope: {scope} for scope in Scope} | {
    Scope.COMPRESS: {Scope.COMPRESS, Scope.READ},
    Scope.ADMIN: set(Scope),
}
"""What a key of each scope may do."""


def requests_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and template of every route, however it came to be one."""
    for route in app.routes:
        found = list(getattr(route, "effective_route_contexts", list)()) or [route]
        for each in found:
            methods = getattr(each, "methods", None) or ["GET"]
            yield from ((method, re.sub(r":\w+\}", "}", each.path)) for method in methods)


def asked(template: str) -> str:
    """A path of a template."""
    return re.sub(r"\{[^}]*\}", "x", template)


def test_walk_finds_all_routes(guarded: TestClient) -> None:
    app = guarded.app
    assert isinstance(app, FastAPI)
    documented = {
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    }
    found = set(requests_of(app))
    assert documented <= found
    assert {
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("POST", "/models/{model}/tokenize"),
    } <= found


def test_every_route_needs_a_key_but_for_the_list(guarded: TestClient) -> None:
    app = guarded.app
    assert isinstance(app, FastAPI)
    for method, template in requests_of(app):
        path = asked(template)
        answer = guarded.request(method, path, follow_redirects=False)
        if method in ("GET", "HEAD") and OPEN_PATHS.fullmatch(path):
            assert answer.status_code not in (401, 403), path
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer", path
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert answer.headers["referrer-policy"] == "no-referrer", path


def test_every_route_is_in_the_table(guarded: TestClient) -> None:
    app, table = guarded.app, Permissions(metrics_open=False)
    assert isinstance(app, FastAPI)
    for method, template in requests_of(app):
        assert table.listed(method, asked(template)) is not None, (method, template)


def test_every_route_needs_a_scope(guarded: TestClient, keys: Keys) -> None:
    """With all but what is needed it is refused; with that, and as an administrator, it is not."""
    app, table = guarded.app, Permissions(metrics_open=False)
    assert isinstance(app, FastAPI)
    for method, template in requests_of(app):
        path, needed = asked(template), table.scopes_of(method, asked(template))
        for scope in Scope if needed is not OPEN else ():
            answer = guarded.request(
                method, path, headers=keys.headers(scope), follow_redirects=False
            )
            may = bool(needed & HELD[scope])
            assert (answer.status_code == 403) is not may, (method, path, scope, answer.text)
            assert answer.status_code != 401, (method, path, scope)


def test_another_spelling_is_no_way_around_a_scope(guarded: TestClient, keys: Keys) -> None:
    app, table = guarded.app, Permissions(metrics_open=False)
    assert isinstance(app, FastAPI)
    for method, template in requests_of(app):
        path, needed = asked(template), table.scopes_of(method, asked(template))
        without = [each for each in Scope if needed is not OPEN and not needed & HELD[each]]
        for scope, spelled in product(without, (f"{path}%0A", f"{path}/", path.upper())):
            headers = keys.headers(scope)
            answer = guarded.request(method, spelled, headers=headers, follow_redirects=False)
            assert answer.status_code in (307, 403, 404, 405), (method, spelled, scope)


@pytest.mark.parametrize(
    "path",
    [
        "/score/",
        "/score%0A",
        "//score",
        "/SCORE",
        "/models/x/run/",
        "/health/%2e%2e/models",
        "/ui/%2e%2e/models",
        "/static/%2e%2e/models",
        "/nothing",
        "/models/x/files/health/live",
        "/health/live/x",
        "/v2/health/live/%2e%2e/%2e%2e/models",
    ],
)
def test_no_other_spelling_of_a_path_is_let_in(path: str, guarded: TestClient) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"):
        answer = guarded.request(method, f"http://testserver{path}", follow_redirects=False)
        assert answer.status_code in (401, 404, 405), (method, answer.text)


def test_every_method_of_grpc_needs_a_key(published: Published, keys: Keys) -> None:
    grpc = pytest.importorskip("grpc", reason="gRPC is optional: pip install 'isslim[grpc]'")
    from isslim.service.inference_protocol.grpc_messages import service_descriptor

    port, service = free_port(), service_descriptor()
    assert {each.name for each in service.methods} == GRPC.keys()
    settings = ServiceSettings(
        home=published.settings.home, grpc_port=port, api_keys_file=keys.file
    )
    with TestClient(create_app(settings)), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

        def status(method: str, metadata: tuple[tuple[str, str], ...]) -> str:
            is_stream = method == "ModelStreamInfer"
            kind = channel.stream_stream if is_stream else channel.unary_unary
            call = kind(f"/{service.full_name}/{method}")
            try:
                answer = call(iter([b""]) if is_stream else b"", metadata=metadata, timeout=20)
                list(answer) if is_stream else None
            except grpc.RpcError as error:
                return str(error.code().name)
            return "OK"

        for method, scopes in GRPC.items():
            bad = (("authorization", "Bearer nonsense"),)
            wrong = (("x-api-key", keys.by_name["compress"]),)
            if scopes is OPEN:
                assert status(method, bad) == "OK"
                continue
            assert status(method, ()) == "UNAUTHENTICATED", method
            assert status(method, bad) == "UNAUTHENTICATED", method
            if not scopes & {Scope.READ}:
                assert status(method, wrong) == "PERMISSION_DENIED", method
            right = (("authorization", f"Bearer {keys.by_name['admin']}"),)
            assert status(method, right) not in ("UNAUTHENTICATED", "PERMISSION_DENIED"), method


def test_a_list_of_no_files_needs_the_scope_of_files(guarded: TestClient, keys: Keys) -> None:
    """The framework's `{name:path}` takes an empty name, too."""
    for path in ("/models/x/files/", "/models/x/files//", "/v2/models/"):
        assert Permissions(metrics_open=False).listed("GET", path) is not None
    answer = guarded.get("/models/x/files/", headers=keys.headers("score"))
    assert answer.status_code == 403
    assert answer.json()["type"] == "missing-scope"
