"""What the OpenAPI document promises of every operation, and that errors keep the promise."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastapi.dependencies.utils
import pytest
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.types.recipe import Recipe
from tests.service.test_routes import problem

Json = dict[str, Any]
JSON_TYPE = {"content-type": "application/json"}
JAVASCRIPT = {"constructor", "hasOwnProperty", "toString", "valueOf", "__proto__"}
"""Names of fields on which generators of TypeScript fail."""
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


def invalid(document: Json) -> list[str]:
    """What is wrong with a document, by the schema of OpenAPI 3.1 and by its examples."""
    # They take seconds to load, and are not while tests are collected.
    from jsonschema import Draft202012Validator
    from openapi_spec_validator import OpenAPIV31SpecValidator

    found = [str(each.message) for each in OpenAPIV31SpecValidator(document).iter_errors()]
    for place, rule in objects(document):
        # At the root of each rule, so that its references are found.
        validator = Draft202012Validator({**rule, "components": document["components"]})
        for example in [
            *rule.get("examples", []),
            *([rule["example"]] if "example" in rule else []),
        ]:
            found += [f"{place}: {each.message}" for each in validator.iter_errors(example)]
        if "prefixItems" in rule and "items" not in rule:
            found.append(f"{place}: a tuple without `items`, which generators stumble over")
        if taken := JAVASCRIPT & rule.get("properties", {}).keys():
            found.append(f"{place}: {min(taken)}: a name that every object of JavaScript has")
        if "itemSchema" in rule:
            found.append(f"{place}: `itemSchema` is of OpenAPI 3.2")
    return found


def objects(node: Any, place: str = "") -> Iterator[tuple[str, Json]]:
    """Every object in a JSON value, with its place."""
    if isinstance(node, dict):
        yield place, node
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for name, each in pairs:
        if isinstance(each, dict | list) and name not in ("examples", "example", "default"):
            yield from objects(each, f"{place}/{name}")


def test_document_is_valid_and_its_examples_are(document: Json) -> None:
    assert document["openapi"].startswith("3.1")
    assert invalid(document) == []
    assert document["info"]["license"] == {"name": "MIT", "identifier": "MIT"}
    assert document["servers"][0]["url"] == "/"
    tags = {each["name"]: each["description"] for each in document["tags"]}
    assert all(set(operation["tags"]) <= tags.keys() for _, operation in operations(document))
    assert all(tags.values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"paths": {"/x": {"get": {"responses": {"200": {}}}}}}, "'description' is a required"),
        ({"rule": {"type": "integer", "examples": ["a"]}}, "'a' is not of type 'integer'"),
        ({"rule": {"$ref": "#/components/schemas/Health", "examples": [{}]}}, "'status' is a requ"),
        ({"rule": {"type": "array", "prefixItems": [{}]}}, "a tuple without `items`"),
        ({"rule": {"properties": {"constructor": {}}}}, "constructor: a name that every object"),
        ({"rule": {"itemSchema": {}}}, "`itemSchema` is of OpenAPI 3.2"),
    ],
)
def test_fault_in_a_document_is_found(change: Json, said: str, document: Json) -> None:
    broken: Json = json.loads(json.dumps(document))
    if rule := change.get("rule"):
        broken["components"]["schemas"]["Wrong"] = rule
    else:
        broken["paths"] |= change["paths"]
    # The validator quotes names as the library does that is there: either way.
    assert any(said in each.replace('"', "'") for each in invalid(broken))


def test_recipes_in_examples_are_recipes(document: Json) -> None:
    for name, schema in document["components"]["schemas"].items():
        if name.startswith("Body_"):
            for example in schema["properties"]["options"]["examples"]:
                Recipe.model_validate_json(example)


def test_operations_are_named_after_their_functions(document: Json, client: TestClient) -> None:
    """As generated clients name them."""
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert [each for each in ids if not re.fullmatch(r"[a-z]+(_[a-z]+)+", each)] == []
    assert {"compress_model", "follow_job", "score_texts", "get_file"} <= set(ids)


def test_files_of_forms_are_binary_and_never_null(document: Json) -> None:
    form = document["components"]["schemas"]["Body_compress_model"]
    for name, rule in form["properties"].items():
        assert rule["type"] == "string", name
        assert rule.get("format") == (None if name == "options" else "binary"), name
    assert form["required"] == ["model"]


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


def test_every_error_is_documented_in_the_shape_of_its_path(document: Json) -> None:
    for name, operation in operations(document):
        media_type, schema = "application/problem+json", "ProblemDocument"
        if name.split()[1].startswith("/v2"):
            media_type, schema = "application/json", "InferenceError"
        elif name.split()[1].startswith(("/v1", "/tokenize", "/detokenize")):
            media_type, schema = "application/json", "CompletionError"
        wanted = {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
        assert "500" in operation["responses"], name
        for status, answer in operation["responses"].items():
            if status >= "400":
                assert answer["content"] == wanted, (name, status)
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
        ("POST", "/score", {"content": b"{}", "headers": {"content-type": "text/plain"}}, 415),
        ("POST", "/qa", {"content": b"{}"}, 415),
        ("POST", "/compress", {"json": {"model": "x"}}, 415),
        ("POST", "/inspect", {"content": b"x"}, 415),
        ("POST", "/sweeps", {"data": {"options": "{}"}}, 415),
        ("GET", "/models", {"params": {"page": "1"}}, 422),
        ("GET", "/jobs/{job_id}", {"params": {"x": ""}}, 422),
        ("GET", "/models/{model}/latency", {"params": {"step": "1"}}, 422),
        ("POST", "/compress?name=x", {"files": {"model": b"x"}}, 422),
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
    documented = document["paths"][path.partition("?")[0]][method.lower()]["responses"]
    assert str(status) in documented


def test_method_that_a_path_does_not_take_is_told_which_it_takes(client: TestClient) -> None:
    for method, path, allowed in (
        ("GET", "/score", "POST"),
        ("PUT", "/models/tiny", "DELETE, GET, HEAD"),
    ):
        answer = client.request(method, path)
        problem(answer, 405, "http")
        assert answer.headers["allow"] == allowed


def test_document_is_made_in_a_thread_and_not_where_requests_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, threads, made = create_app(ServiceSettings(home=tmp_path)), list[int](), Json()

    @app.get("/here")
    async def here() -> int:
        return threading.get_ident()

    def noted() -> Json:
        threads.append(threading.get_ident())
        return made

    monkeypatch.setattr(app, "openapi", noted)
    with TestClient(app) as client:
        assert client.get("/openapi.json").json() == made
        assert client.get("/here").json() not in threads
    assert len(threads) == 1


@pytest.mark.parametrize("is_prepared", [True, False])
def test_routes_of_a_prepared_app_are_made_before_its_first_request(
    is_prepared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, made = create_app(ServiceSettings(home=tmp_path)), list[object]()
    if is_prepared:
        app.prepare()
    analyse = fastapi.dependencies.utils.analyze_param

    def noted(**parameter: Any) -> Any:
        made.append(parameter["param_name"])
        return analyse(**parameter)

    monkeypatch.setattr(fastapi.dependencies.utils, "analyze_param", noted)
    with TestClient(app) as client:
        for path in ("/models", "/models/nope", "/aliases", "/jobs/nope", "/v2/models/nope"):
            assert client.get(path).status_code in (200, 404)
    assert (made == []) is is_prepared
