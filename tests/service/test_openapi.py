"""What the OpenAPI document promises of every operation, and that errors keep the promise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests.service.test_routes import problem

Json = dict[str, Any]
JSON_TYPE = {"content-type": "application/json"}
FORM_TYPE = {"content-type": "multipart/form-data; boundary=b"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    app = create_app(ServiceSettings(home=tmp_path_factory.mktemp("home"), upload_limit_bytes=1000))
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="module")
def document(client: TestClient) -> Json:
    found: Json = client.get("/openapi.json").json()
    return found


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def lacks(rule: Json) -> list[str]:
    """What a parameter or field does not say; a nested model has its examples in its own fields."""
    nested = "$ref" in json.dumps(rule)
    return [
        word
        for word, needed in (("description", True), ("examples", not nested))
        if needed and rule.get(word) is None
    ]


def test_every_operation_and_parameter_says_what_it_is(document: Json) -> None:
    bare = []
    for name, operation in operations(document):
        assert operation.get("summary"), name
        assert operation.get("description"), name
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])
            if lacks(parameter["schema"] | {"description": parameter["description"]}):
                bare.append(f"{name}: {parameter['name']}")
    assert bare == []


def test_every_field_of_every_model_and_form_says_what_it_is(document: Json) -> None:
    schemas = document["components"]["schemas"]
    forms = [name for name in schemas if name.startswith("Body_")]
    assert len(forms) == 3
    bare = [
        f"{name}.{field}: no {', '.join(lacks(rule))}"
        for name, schema in schemas.items()
        for field, rule in schema.get("properties", {}).items()
        if lacks(rule)
    ]
    assert bare == []


def test_uploads_take_the_same_files(document: Json) -> None:
    forms = {
        name: {field: rule for field, rule in schema["properties"].items() if field != "variations"}
        for name, schema in document["components"]["schemas"].items()
        if name.startswith("Body_")
    }
    first, *others = forms.values()
    assert others == [first, first]


def test_every_error_is_documented_as_a_problem(document: Json) -> None:
    for name, operation in operations(document):
        assert "500" in operation["responses"], name
        for status, answer in operation["responses"].items():
            if status >= "400":
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
                schema = answer["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ProblemDocument"}, (name, status)
    assert "HTTPValidationError" not in str(document)


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/models/{model}", {}, 404),
        ("DELETE", "/models/{model}", {}, 404),
        ("GET", "/models/{model}/files/{path}", {}, 404),
        ("GET", "/models/{model}/latency", {"params": {"steps": "x"}}, 422),
        ("POST", "/models/{model}/run", {"json": {"inputs": {}}}, 404),
        ("POST", "/models/{model}/run", {"json": {"inputs": 1}}, 422),
        ("POST", "/models/{model}/run", {"content": b"x"}, 415),
        ("GET", "/jobs/{job_id}", {}, 404),
        ("GET", "/jobs/{job_id}/events", {}, 404),
        ("GET", "/inspections/{inspection_id}", {}, 404),
        ("DELETE", "/sweeps/{sweep_id}", {}, 404),
        ("POST", "/inspect", {"files": {"model": b"x"}}, 503),
        ("POST", "/inspect", {"files": {"modle": b"x"}}, 422),
        ("POST", "/score", {"content": b"\xff", "headers": JSON_TYPE}, 400),
        ("POST", "/score", {"json": {"model": "nope", "texts": ["x"]}}, 404),
        ("POST", "/compress", {"content": b"x", "headers": FORM_TYPE}, 400),
        ("POST", "/compress", {"files": {"model": b"x" * 5000}}, 413),
        ("POST", "/sweeps", {"files": {"model": b"x"}}, 422),
    ],
)  # fmt: skip
def test_errors_are_among_those_documented(
    method: str, path: str, content: Json, status: int, client: TestClient, document: Json
) -> None:
    names = ("model", "path", "job_id", "sweep_id", "inspection_id")
    asked = path.format(**dict.fromkeys(names, "nope"))
    answer = client.request(method, asked, **content)
    problem(answer, status, answer.json()["type"])
    assert str(status) in document["paths"][path][method.lower()]["responses"]


def test_method_that_a_path_does_not_take_is_told_which_it_takes(client: TestClient) -> None:
    for method, path, allowed in (
        ("GET", "/score", "POST"),
        ("PUT", "/models/tiny", "DELETE, GET, HEAD"),
    ):
        answer = client.request(method, path)
        problem(answer, 405, "http")
        assert answer.headers["allow"] == allowed
