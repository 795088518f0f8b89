"""The OpenAPI document: FastAPI's, with every error as the problem document that it is on the wire."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from isslim.service.problems import MEDIA_TYPE
from isslim.types.schemas.graphs import GraphRequest
from isslim.types.schemas.problems import ProblemDocument

_REFERENCE = "#/components/schemas/"
_FRAMEWORK = ("HTTPValidationError", "ValidationError")
"""What FastAPI documents for requests that are not valid, and nobody here sends."""


class DocumentedApp(FastAPI):
    """An app whose OpenAPI document says what errors look like."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once by the framework, and changing it again changes nothing."""
        document = super().openapi()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model in (
            ProblemDocument,
            GraphRequest,
        ):  # the framework takes neither in nor out itself
            schemas.setdefault(
                model.__name__, model.model_json_schema(ref_template=f"{_REFERENCE}{{model}}")
            )
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
