"""Problem documents (RFC 9457): every error of the service has this form, with the one table from error to status."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from isslim.runtime.errors import (
    DeviceUnavailable,
    GraphRefused,
    InputsRefused,
    RuntimeFault,
    TextRefused,
    TokenOutOfRange,
    UnknownVariant,
)
from isslim.store.errors import (
    CorruptBundle,
    EmptyUpload,
    NotFound,
    OutOfSpace,
    StoreError,
    TooLarge,
    Unavailable,
    UnsafePath,
)
from isslim.types.schemas.problems import ProblemDocument

MEDIA_TYPE = "application/problem+json"


class RequestError(Exception):
    """A request that the service itself refuses.

    Attributes:
        kind: stable slug, a key of `STATUS`.
        detail: what was found, what was expected, what to do.
        errors: every issue.
    """

    def __init__(self, kind: str, detail: str, errors: list[dict[str, Any]] | None = None) -> None:
        self.kind, self.detail, self.errors = kind, detail, errors or []
        super().__init__(detail)


TABLE: dict[type[Exception], tuple[int, str, str]] = {
    NotFound: (404, "not-found", "There is no such thing"),
    UnknownVariant: (404, "unknown-variant", "The model has no such variant"),
    UnsafePath: (404, "unsafe-path", "The path is not a plain one"),
    TooLarge: (413, "too-large", "The upload is too large"),
    EmptyUpload: (422, "empty-upload", "The upload is empty"),
    CorruptBundle: (409, "corrupt-bundle", "The bundle is not what its manifest says"),
    OutOfSpace: (507, "out-of-space", "The disk is full"),
    Unavailable: (503, "database-unavailable", "The database does not answer"),
    TextRefused: (422, "text-refused", "The text cannot be read"),
    TokenOutOfRange: (422, "token-out-of-range", "A token id is not of the vocabulary"),
    InputsRefused: (422, "inputs-refused", "The graph cannot be run on these inputs"),
    DeviceUnavailable: (422, "device-unavailable", "The device is not there"),
    GraphRefused: (500, "graph-refused", "The model's graph cannot be used"),
    StoreError: (500, "storage", "The storage failed"),
    RuntimeFault: (500, "runtime", "The runtime failed"),
}
STATUS: dict[str, tuple[int, str]] = {
    "invalid-request": (422, "The request is not valid"),
    "wrong-task": (422, "The model is for something else"),
    "too-large": (413, "The request is too large"),
    "unsupported-media-type": (415, "The body is of a type that is not read here"),
    "no-worker": (503, "No worker is running"),
    "overloaded": (503, "The service is busy"),
}


def document(
    status: int,
    kind: str,
    title: str,
    detail: str,
    errors: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem document as a response; 503 tells when to come back."""
    body = ProblemDocument(
        type=kind, title=title, status=status, detail=detail, errors=errors or []
    )
    headers = {**(headers or {}), **({"retry-after": "1"} if status == 503 else {})}
    # Plain ASCII: what is quoted from a request may hold lone surrogates, which no UTF-8 can carry.
    return Response(json.dumps(body.model_dump()), status, headers, MEDIA_TYPE)


def _methods(request: Request) -> list[str]:
    """What the path takes; the framework tells only of the first route that it finds there."""
    asked = (
        (method, {**request.scope, "method": method})
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
    )
    return [
        m
        for m, scope in asked
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    ]


def install(app: FastAPI) -> None:
    """Registers the handlers; nothing that a route raises leaves in another form."""

    def of_table(request: Request, error: Exception) -> Response:
        status, kind, title = next(TABLE[each] for each in type(error).__mro__ if each in TABLE)
        issues = [{"detail": issue} for issue in getattr(error, "issues", [])]
        return document(status, kind, title, str(error), issues)

    def refused(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestError):
            raise error
        status, title = STATUS[error.kind]
        return document(status, error.kind, title, error.detail, error.errors)

    def invalid(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        errors = [
            {"pointer": "/" + "/".join(str(part) for part in each["loc"]), "detail": each["msg"]}
            for each in error.errors()
        ]
        detail = "; ".join(f"{each['pointer']}: {each['detail']}" for each in errors[:5])
        return document(422, "invalid-request", STATUS["invalid-request"][1], detail, errors)

    def of_http(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            # The framework's spooling of an upload filled the disk, and it called that a bad body.
            return document(
                *TABLE[OutOfSpace], "no room for the upload; free some and send it again"
            )
        description = f"{request.method} {request.url.path}: {error.detail}"
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        if error.status_code == 405:
            headers["allow"] = ", ".join(_methods(request))
        return document(error.status_code, "http", error.detail, description, headers=headers)

    def of_fault(request: Request, error: Exception) -> Response:
        # The error goes on to the server's log; the sender is told no more than that it was not
        # their fault.
        return document(
            500,
            "internal",
            "The service failed",
            f"{type(error).__name__}; the service's log says more",
        )

    app.add_exception_handler(Exception, of_fault)
    for root in (StoreError, RuntimeFault):
        app.add_exception_handler(root, of_table)
    app.add_exception_handler(RequestError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, of_http)
