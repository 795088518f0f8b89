"""What is wrong with a request, with the table of statuses; answered in the shape of its path."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from isslim.runtime.errors import (
    DeviceUnavailable,
    GraphRefused,
    InputsRefused,
    RunStopped,
    RuntimeFault,
    TextRefused,
    TokenOutOfRange,
    UnknownTask,
    UnknownVariant,
)
from isslim.service.error_shapes import shape_of
from isslim.service.form_errors import form_error
from isslim.service.request_id import request_id
from isslim.store.errors import (
    BadCursor,
    BeingChanged,
    CorruptBundle,
    EmptyUpload,
    InspectionsExceeded,
    InUse,
    JobsExceeded,
    NotFound,
    NothingEarlier,
    OutOfSpace,
    QuotaExceeded,
    StorageUnavailable,
    StoreError,
    TooLarge,
    Unavailable,
    UnsafePath,
)
from isslim.types.schemas.problems import ProblemDocument

_LOG = logging.getLogger("service")
INTERNAL = "internal"
"""The kind of a failure that is the service's own, and belongs in its log."""
SAFETY = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
"""Headers of every answer: no browser guesses its type, or tells other sites of its address."""
RETRY_AFTER = {429: "10", 503: "1"}
"""Seconds until another try, by status, where nothing says it better."""
MAX_ISSUES, MAX_ISSUE_BYTES, MAX_DETAIL_BYTES = 20, 1000, 4000
"""Limits of a problem document: issues, bytes of one value of an issue, bytes of the detail."""


_HIDING: list[Callable[[str], str]] = [str]
"""Of the process's settings, which `hide_by` sets: problems are described in many places."""


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
    BadCursor: (422, "bad-cursor", "The list has no such page"),
    InUse: (409, "model-in-use", "An alias needs the model"),
    NothingEarlier: (409, "nothing-earlier", "There is nothing to go back to"),
    JobsExceeded: (429, "too-many-jobs", "The key has too many jobs"),
    InspectionsExceeded: (429, "too-many-inspections", "The key has too many inspections"),
    QuotaExceeded: (403, "quota-exceeded", "The key has too much"),
    OutOfSpace: (507, "out-of-space", "The disk is full"),
    BeingChanged: (503, "alias-being-changed", "Others change the alias at the same time"),
    Unavailable: (503, "database-unavailable", "The database does not answer"),
    StorageUnavailable: (503, "storage-unavailable", "The storage cannot be read"),
    TextRefused: (422, "text-refused", "The text cannot be read"),
    TokenOutOfRange: (422, "token-out-of-range", "A token id is not of the vocabulary"),
    InputsRefused: (422, "inputs-refused", "The graph cannot be run on these inputs"),
    DeviceUnavailable: (422, "device-unavailable", "The device is not there"),
    UnknownTask: (409, "unknown-kind", "The service does not know this kind of model"),
    RunStopped: (503, "run-stopped", "The run was ended before it was done"),
    GraphRefused: (500, "graph-refused", "The model's graph cannot be used"),
    StoreError: (500, "storage", "The storage failed"),
    RuntimeFault: (500, "runtime", "The runtime failed"),
}
STATUS: dict[str, tuple[int, str]] = {
    "invalid-request": (422, "The request is not valid"),
    "wrong-task": (422, "The model is for something else"),
    "too-large": (413, "The request is too large"),
    "recipe-too-long": (422, "The recipe asks for too much work"),
    "uploads-gone": (409, "The files are not kept any more"),
    "unsupported-media-type": (415, "The body is of a type that is not read here"),
    "state-refused": (400, "The state cannot be read"),
    "state-expired": (409, "The state is too old"),
    "state-mismatch": (409, "The state is of something else"),
    "no-worker": (503, "No worker is running"),
    "overloaded": (503, "The service is busy"),
    "deadline-exceeded": (504, "The run took too long"),
    "unauthenticated": (401, "A key is needed"),
    "not-owner": (403, "It belongs to another key"),
    "missing-scope": (403, "The key is not for this"),
    "unknown-host": (403, "The service is not known by this name"),
    "cross-site": (403, "The request comes from another site"),
    "rate-limited": (429, "Too many requests"),
    "keys-unreadable": (503, "Nobody can be let in"),
    "client-left": (499, "The connection was closed before there was an answer"),
}


def describe(
    status: int, kind: str, title: str, detail: str, errors: Sequence[Mapping[str, Any]] = ()
) -> ProblemDocument:
    """A problem, of at most about 50 kB whatever it quotes.

    Args:
        status: of the response.
        kind: stable slug of the kind of problem.
        title: the kind of problem in words.
        detail: what is wrong with this request.
        errors: every issue; the first ones are sent, with the number of the others.
    """
    hide = _HIDING[-1]
    issues = [
        {name: _cut(hide(text), MAX_ISSUE_BYTES) for name, text in each.items()}
        for each in errors[:MAX_ISSUES]
    ]
    if len(errors) > MAX_ISSUES:
        issues.append({"detail": f"and {len(errors) - MAX_ISSUES:,} more"})
    return ProblemDocument(
        type=kind,
        title=title,
        status=status,
        detail=_cut(hide(detail), MAX_DETAIL_BYTES),
        errors=issues,
        request_id=request_id(),
    )


def answer(
    path: str, problem: ProblemDocument, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer to a request that is refused, in the shape of its path.

    Args:
        path: of the request.
        problem: what is wrong with it; 503 includes when to retry.
        headers: additional headers of the response.
    """
    shape = shape_of(path)
    shaped = shape.of(problem)
    sent = {**(headers or {}), **shaped.headers}
    if shaped.status in RETRY_AFTER:
        sent.setdefault("retry-after", RETRY_AFTER[shaped.status])
    # Set here too: the answer to a failure passes no middleware.
    sent |= {name.decode(): value.decode() for name, value in SAFETY}
    if request_id() is not None:
        sent["x-request-id"] = str(request_id())
    # Plain ASCII: quotations from a request may hold lone surrogates, which UTF-8 cannot encode.
    body = json.dumps(shaped.body.model_dump())
    return Response(body, shaped.status, sent, shape.media_type)


def problem_of(error: Exception) -> ProblemDocument:
    """What an error says to the sender; of one that is not in the tables only its type."""
    if isinstance(error, RequestError):
        status, title = STATUS[error.kind]
        return describe(status, error.kind, title, error.detail, error.errors)
    for each in type(error).__mro__:
        if each in TABLE:
            issues = [{"detail": issue} for issue in getattr(error, "issues", [])]
            return describe(*TABLE[each], str(error), issues)
    description = f"{type(error).__name__}; the service's log says more"
    return describe(500, INTERNAL, "The service failed", description)


def hide_by(hide: Callable[[str], str]) -> None:
    """Sets what takes the server's places out of the texts of all problems of this process.

    Args:
        hide: of a text.
    """
    _HIDING[:] = [hide]


def _cut(text: str, most: int) -> str:
    """The text, truncated to a number of bytes as ASCII."""
    if len(json.dumps(text[: most + 1])) - 2 <= most:
        return text
    text = text[:most]
    while len(json.dumps(text)) > most:
        text = text[: len(text) * 3 // 4]
    return text + "..."


def issues_of(error: ValidationError, place: str) -> list[dict[str, str]]:
    """The issues that pydantic found, each with a JSON pointer below `place`.

    Args:
        error: of a form's field, or of a body; the values that were sent are not copied.
        place: where it was sent, such as `body`.
    """
    return [
        {"pointer": _pointer((place, *each["loc"])), "detail": _in_words(each)}
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _pointer(place: Iterable[object]) -> str:
    return "".join(f"/{part}" for part in place)


def _in_words(issue: Mapping[str, Any]) -> str:
    """An issue that pydantic found, without its own terms."""
    if issue["type"] == "extra_forbidden":
        return "there is no such field; `/docs` lists all"
    said = str(issue["msg"]).removeprefix("Value error, ")
    if said.startswith("Expected UploadFile"):
        return "it is text, and has to be a file: send it with a file name (curl: -F name=@file)"
    return said


def _methods(request: Request) -> list[str]:
    """All methods of a path; the framework lists only those of the first matching route."""
    asked = (
        (method, {**request.scope, "method": method})
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
    )
    return [
        m
        for m, scope in asked
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    ]


def _answered(request: Request, error: Exception) -> Response:
    # One that is not in the tables goes on to the server's log.
    if isinstance(error, Unavailable) and not isinstance(error, BeingChanged):
        _LOG.warning("the database does not answer: %s", error.reason)
    return answer(request.scope["path"], _noted(request.scope, problem_of(error)))


async def refused(refusal: RequestError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request that is refused before it reaches its route.

    Args:
        refusal: why.
        scope: of the request.
        receive: of its connection.
        send: of its connection.
    """
    response = answer(scope["path"], _noted(scope, problem_of(refusal)))
    await response(scope, receive, send)


def _noted(scope: Scope, problem: ProblemDocument) -> ProblemDocument:
    """The problem; its kind is kept for those who count."""
    scope.setdefault("state", {})["problem"] = problem.type
    return problem


def noted_problem(scope: Scope) -> str:
    """The kind of problem that a request was answered with; empty: none."""
    return str(scope.get("state", {}).get("problem", ""))


def _of_invalid_parameters(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    errors = [
        {"pointer": _pointer(each["loc"]), "detail": _in_words(each)} for each in error.errors()
    ]
    detail = "; ".join(f"{each['pointer']}: {each['detail']}" for each in errors[:5])
    problem = describe(422, "invalid-request", STATUS["invalid-request"][1], detail, errors)
    return answer(request.scope["path"], problem)


def _of_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    path, cause = request.scope["path"], error.__cause__
    if isinstance(cause, ClientDisconnect):
        return _of_disconnect(request, cause)
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        # The framework's spooling of an upload filled the disk, which it reports as a bad body.
        detail = "no room for the upload; free some and send it again"
        return answer(path, describe(*TABLE[OutOfSpace], detail))
    detail = form_error(error) or error.detail
    description = f"{request.method} {request.url.path}: {detail}"
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:
        headers["allow"] = ", ".join(_methods(request))
    return answer(path, describe(error.status_code, "http", error.detail, description), headers)


def _of_disconnect(request: Request, _: Exception) -> Response:
    """What the log and metrics hold of a sender who left in the middle of the body."""
    return _answered(request, RequestError("client-left", "the connection was closed"))


def install(app: FastAPI) -> None:
    """Registers the handlers, so that every error of a route is answered in its path's shape."""
    for root in (Exception, StoreError, RuntimeFault, RequestError):
        app.add_exception_handler(root, _answered)
    app.add_exception_handler(RequestValidationError, _of_invalid_parameters)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(ClientDisconnect, _of_disconnect)
