"""The OpenAPI document: FastAPI's, with every error as the problem document that it is."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from isslim.service.problems import MEDIA_TYPE
from isslim.types.schemas.graphs import GraphRequest
from isslim.types.schemas.problems import ProblemDocument
from isslim.types.schemas.questions import QuestionRequest
from isslim.types.schemas.scores import ScoreRequest

_REFERENCE = "#/components/schemas/"
_OWN = (ProblemDocument, ScoreRequest, QuestionRequest, GraphRequest)
"""Types of bodies that the framework neither reads nor writes itself."""
_FRAMEWORK = ("HTTPValidationError", "ValidationError")
"""Responses that FastAPI documents for invalid requests, and that this service never sends."""


def body_of(schema: type[BaseModel]) -> dict[str, Any]:
    """The documentation of the JSON body of a route that reads it itself."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"{_REFERENCE}{schema.__name__}"}}},
        }
    }


class DocumentedApp(FastAPI):
    """An app whose OpenAPI document describes its errors."""

    def openapi(self) -> dict[str, Any]:
        """The document; the framework makes it once, and the changes are idempotent."""
        document = super().openapi()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model in _OWN:
            schema = model.model_json_schema(ref_template=f"{_REFERENCE}{{model}}")
            for name, inner in schema.pop("$defs", {}).items():
                schemas.setdefault(name, inner)
            schemas.setdefault(model.__name__, schema)
        for name in _FRAMEWORK:
            schemas.pop(name, None)
        content = {MEDIA_TYPE: {"schema": {"$ref": f"{_REFERENCE}{ProblemDocument.__name__}"}}}
        for operations in document["paths"].values():
            for operation in operations.values():
                answers: dict[str, Any] = operation["responses"]
                answers.setdefault("500", {"description": "The service failed; its log says more"})
                for status, answer in answers.items():
                    if status >= "400":
                        answer["content"] = content
        return document
