"""Routers whose routes refuse what they would not read: query parameters, types of bodies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, get_origin

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Cookie, Form, Header, Path
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from isslim.service.problems import RequestError
from isslim.service.whole_forms import keeping_end, refuse_cut_off
from isslim.types.schemas.problems import ProblemDocument

MULTIPART = "multipart/form-data"


class CheckedRoute(APIRoute):
    """A route that refuses query parameters and types of forms that the framework would ignore.

    A misspelt parameter would have no effect, of one that is sent twice the last value alone, and
    of a form sent as JSON it would say that each of its fields is missing.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the route answers a request; none does where the path ends with a line break.

        The framework's patterns end with `$`, which would pass over it.
        """
        if scope.get("path", "").endswith("\n"):
            return Match.NONE, {}
        return super().matches(scope)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler behind the checks."""
        handler = super().get_route_handler()
        known = _query_parameters(self.dependant)
        takes_form = self.body_field is not None and isinstance(self.body_field.field_info, Form)

        async def checked(request: Request) -> Response:
            if request.scope["query_string"]:
                _refuse_unknown(set(request.query_params) - known.keys(), set(known))
                _refuse_repeated(request, known)
            if not takes_form:
                return await handler(request)
            if content_type(request) != MULTIPART:
                raise unsupported(request, MULTIPART)
            try:
                return await handler(keeping_end(request))
            except RequestValidationError:  # a part may be missing that was cut off
                refuse_cut_off(request)
                raise

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


def _query_parameters(dependant: Dependant) -> dict[str, bool]:
    """A route's query parameters by name, and whether each is a list.

    Those of a model of several come without a mark of their own.
    """
    return {
        each.alias: get_origin(each.field_info.annotation) is list
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


def _refuse_repeated(request: Request, known: Mapping[str, bool]) -> None:
    sent = Counter(name for name, _ in request.query_params.multi_items() if not known[name])
    repeated = {name: n for name, n in sorted(sent.items()) if n > 1}
    if repeated:
        raise RequestError(
            "invalid-request",
            f"query parameters that take one value are sent several times: {', '.join(repeated)}",
            [
                {"pointer": f"/query/{name}", "detail": f"it is sent {n} times"}
                for name, n in repeated.items()
            ],
        )
