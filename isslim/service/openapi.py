"""The OpenAPI document: FastAPI's, made valid and complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel

from isslim.service.access.permissions import Permissions
from isslim.service.error_shapes import PROBLEM, SHAPES, shape_of
from isslim.service.inference_protocol.messages import IndexRequest, InferenceRequest
from isslim.types.jobs import AgainRequest
from isslim.types.schemas.aliases import AliasRequest
from isslim.types.schemas.completions import (
    CompletionRequest,
    DetokenizeRequest,
    TokenizeRequest,
)
from isslim.types.schemas.generation import GenerateRequest, TokenEvent
from isslim.types.schemas.graphs import GraphRequest
from isslim.types.schemas.questions import QuestionRequest
from isslim.types.schemas.scores import ScoreRequest

_REFERENCE = "#/components/schemas/"
_ERRORS: list[type[BaseModel]] = [
    each.schema for each in (PROBLEM, *(shape for _, shape in SHAPES))
]
_OWN: tuple[type[BaseModel], ...] = (
    *_ERRORS,
    AgainRequest,
    AliasRequest,
    ScoreRequest,
    GenerateRequest,
    TokenEvent,
    CompletionRequest,
    TokenizeRequest,
    DetokenizeRequest,
    QuestionRequest,
    GraphRequest,
    InferenceRequest,
    IndexRequest,
)
"""Types of bodies that the framework neither reads nor writes itself."""
_FRAMEWORK = ("HTTPValidationError", "ValidationError")
"""Responses that FastAPI documents for invalid requests, and that this service never sends."""
_BINARY = {"contentMediaType": "application/octet-stream", "format": "binary"}
"""A file in a form: `contentMediaType` is what OpenAPI 3.1 says, `format` what generators read."""
SUMMARY = "Makes trained recurrent networks small and fast, proves it, and serves both versions."
DESCRIPTION = """\
A trained model is uploaded (`POST /inspect`, `POST /compress`), followed as a job
(`GET /jobs/{job_id}/events`) and published as a *model*: the original and the compressed variants,
with every figure and its interval. Each variant then answers over `POST /score`, `POST /qa` or
`POST /models/{model}/run`.

* Every error is a problem document (RFC 9457) with a stable `type`, or what the protocol of the
  path says (`/v2`).
* Unknown query parameters, unknown fields of a body or form, and query parameters of one value or
  fields of a form that are sent twice are refused (422), except by health and metrics; a body of
  another type than the documented ones is refused (415).
* Every answer has `x-request-id`: the request's own if it is short and plain, or a new one. It is
  in problem documents and in the service's log.
* Where the service asks for a key, it is sent as `Authorization: Bearer` or `X-API-Key`; a request
  without one is answered with 401, one with a key that is not for it with 403.
* JSON and text of 1 kB or more are compressed where `Accept-Encoding` accepts gzip.
"""
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "as `isslim keys new` makes it"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same"},
}
_KEY: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}, {}]
"""How a request is let in; the last: by nothing, where the service asks for no keys."""
_LET_IN = {
    "401": "The service asks for a key",
    "403": "The key, or the page, is not for this",
    "429": "More requests than the service allows in a time: again after `Retry-After`",
    "503": "The keys, the database or the storage cannot be read now: again after `Retry-After`",
}
TAGS = [
    {"name": "inspect", "description": "What is understood of an upload, before it is compressed"},
    {"name": "compress", "description": "Uploads that become jobs"},
    {"name": "jobs", "description": "Compressions: their progress and how they ended"},
    {"name": "sweeps", "description": "One upload under several recipes"},
    {"name": "models", "description": "Published models: figures, reports, cards and files"},
    {"name": "aliases", "description": "Names that point at a model, and are moved by promotion"},
    {"name": "score", "description": "Answers of the original and the compressed variants"},
    {"name": "generate", "description": "Texts written by the variants"},
    {
        "name": "inference protocol",
        "description": "Open Inference Protocol v2, as Triton and KServe have it: every model as "
        "its graph of tensors",
    },
    {
        "name": "openai",
        "description": "OpenAI completions of language models, and their tokenizers; all of it "
        "also below `/models/{model}/`",
    },
    {"name": "audit", "description": "Who changed what"},
    {"name": "health", "description": "For monitoring"},
    {"name": "about", "description": "What this service is"},
]


def body_of(schema: type[BaseModel]) -> dict[str, Any]:
    """The documentation of the JSON body of a route that reads it itself."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"{_REFERENCE}{schema.__name__}"}}},
        }
    }


class DocumentedApp(FastAPI):
    """An app whose OpenAPI document is valid, and describes its errors.

    Args:
        prefix: of all addresses, where a proxy shows the service below one; empty: none.
        options: as of `FastAPI`; what the document says of the service as a whole is set here.
    """

    def __init__(self, prefix: str = "", **options: Any) -> None:
        super().__init__(
            title="isslim",
            summary=SUMMARY,
            description=DESCRIPTION,
            license_info={"name": "MIT", "identifier": "MIT"},
            openapi_tags=TAGS,
            # Relative: the service does not know by which address it is reached.
            servers=[{"url": prefix or "/", "description": "this service"}],
            generate_unique_id_function=_operation_id,
            docs_url=None,  # `/docs` is a page of its own, which loads nothing from elsewhere
            redoc_url=None,
            **options,
        )
        self._document: dict[str, Any] | None = None

    def setup(self) -> None:
        """Adds the route of the document. See `FastAPI.setup`."""

        def document(request: Request) -> Response:
            # A plain function, which runs in a thread: the first time it takes half a second.
            return JSONResponse(self.openapi())

        self.add_route("/openapi.json", document, include_in_schema=False)

    def prepare(self) -> None:
        """Lets the framework make its routes, which it would do at the first request.

        That takes a tenth of a second, in which nothing else would be answered.
        """
        nothing = {"type": "http", "method": "GET", "path": "/-", "root_path": "", "headers": []}
        for route in self.routes:
            route.matches(dict(nothing))

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self._document is None:
            self._document = _completed(super().openapi())
        return self._document


def _operation_id(route: APIRoute) -> str:
    """The function's name: generated clients name theirs after it."""
    return route.name


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    document["security"] = []
    document.setdefault("components", {})["securitySchemes"] = SCHEMES
    schemas = document["components"].setdefault("schemas", {})
    for model in _OWN:
        schema = model.model_json_schema(ref_template=f"{_REFERENCE}{{model}}")
        for name, inner in schema.pop("$defs", {}).items():
            schemas.setdefault(name, inner)
        schemas.setdefault(model.__name__, schema)
    for name in _FRAMEWORK:
        schemas.pop(name, None)
    for name, schema in schemas.items():
        if name.startswith("Body_"):
            schema["properties"] = {
                field: _form_field(rule) for field, rule in schema["properties"].items()
            }
            schema["additionalProperties"] = False
    for each in _objects(document):
        if "prefixItems" in each:
            # A tuple, whose `maxItems` allows no further ones. `false` would say so too, but two of
            # three tools do not read it.
            each.setdefault("items", {"anyOf": each["prefixItems"]})
        if "text/event-stream" in each:
            # The schema of a stream is that of an event, which is an object to some tools and text
            # to others: what events there are, the description says.
            each["text/event-stream"] = {}
    _describe_access(document)
    _describe_errors(document)
    return document


def _form_field(rule: dict[str, Any]) -> dict[str, Any]:
    """A field of a form: a part that is not sent is absent, and cannot be null."""
    first, *others = rule.get("anyOf", [rule])
    if others == [{"type": "null"}]:
        rule = {name: value for name, value in rule.items() if name != "anyOf"} | first
    return rule | _BINARY if rule.get("contentMediaType") else rule


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _objects(each)


def _describe_access(document: dict[str, Any]) -> None:
    permissions = Permissions(metrics_open=True)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if permissions.scopes_of(method.upper(), path):
                operation["security"] = _KEY
                for status, description in _LET_IN.items():
                    operation["responses"].setdefault(status, {"description": description})


def _describe_errors(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        shape = shape_of(path)
        schema = {"$ref": f"{_REFERENCE}{shape.schema.__name__}"}
        for operation in operations.values():
            answers: dict[str, Any] = operation["responses"]
            answers.setdefault("500", {"description": "The service failed; its log says more"})
            for status, answer in answers.items():
                if status >= "400":
                    answer["content"] = {shape.media_type: {"schema": schema}}
