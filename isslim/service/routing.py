"""Routers whose routes refuse what they would not read: query parameters, types of bodies."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Cookie, Form, Header, Path
from fastapi.routing import APIRoute

from isslim.service.problems import RequestError
from isslim.types.schemas.problems import ProblemDocument

MULTIPART = "multipart/form-data"


class CheckedRoute(APIRoute):
    """A route that refuses unknown query parameters, and forms of another type than multipart.

    The framework ignores both: a misspelt parameter would have no effect, and of a form sent as
    JSON it would say that each of its fields is missing.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler behind the checks."""
        handler = super().get_route_handler()
        known = _query_parameters(self.dependant)
        takes_form = self.body_field is not None and isinstance(self.body_field.field_info, Form)

        async def checked(request: Request) -> Response:
            if request.scope["query_string"]:
                _refuse_unknown(set(request.query_params) - known, known)
            if takes_form and content_type(request) != MULTIPART:
                raise unsupported(request, MULTIPART)
            return await handler(request)

        return checked


def checked_router(prefix: str = "", *, tag: str) -> APIRouter:
    """A router of `CheckedRoute`s, with the answer to what they refuse documented.

    Args:
        prefix: of its paths.
        tag: of its operations, one of `openapi.TAGS`.
    """
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        route_class=CheckedRoute,
        responses={422: {"model": ProblemDocument}},
    )


def content_type(request: Request) -> str:
    """The type of the body without its parameters; empty where none is named."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def unsupported(request: Request, expected: str) -> RequestError:
    """The refusal of a body of a type that the route does not read.

    Args:
        request: with the body.
        expected: what to send.
    """
    found = content_type(request)
    return RequestError(
        "unsupported-media-type",
        f"the content type is {repr(found) if found else 'not named'}; send {expected}",
    )


def _query_parameters(dependant: Dependant) -> set[str]:
    """Names of a route's query parameters.

    Those of a model of several come without a mark of their own.
    """
    return {
        each.alias
        for each in get_flat_params(dependant)
        if not isinstance(each.field_info, Path | Header | Cookie)
    }


def _refuse_unknown(unknown: set[str], known: set[str]) -> None:
    if unknown:
        there = f"there are: {', '.join(sorted(known))}" if known else "there are none here"
        raise RequestError(
            "invalid-request",
            f"unknown query parameters: {', '.join(sorted(unknown))}; {there}",
            [
                {"pointer": f"/query/{name}", "detail": "there is no such parameter"}
                for name in sorted(unknown)
            ],
        )
