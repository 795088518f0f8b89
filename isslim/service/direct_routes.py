"""Runs of models reach their functions directly: the framework's routing takes longer than they do.

It compares a request with every router's routes twice, solves dependencies that these functions do
not have, and looks at their answers, which are whole responses already.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import cast, get_type_hints

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]


class DirectRoutes:
    """Calls functions that read a request by themselves and return responses; others are routed.

    Args:
        app: the framework's router. It also takes requests with a query, which a `CheckedRoute`
            refuses.
        routes: by method and path.
    """

    def __init__(self, app: ASGIApp, routes: Mapping[tuple[str, str], APIRoute]) -> None:
        self._app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request; errors are the framework's to answer, as those of all routes."""
        route = None
        if scope["type"] == "http" and not (scope["query_string"] or scope.get("root_path")):
            route = self._routes.get((scope["method"], scope["path"]))
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"], scope["endpoint"], scope["path_params"] = route, route.endpoint, {}
        endpoint = cast(Endpoint, route.endpoint)
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def direct_routes(routes: Iterable[BaseRoute]) -> dict[tuple[str, str], APIRoute]:
    """The routes of fixed paths whose functions take the request alone, by method and path.

    Args:
        routes: of routers that are included as they are, in the order in which they match.
    """
    found: dict[tuple[str, str], APIRoute] = {}
    for route in routes:
        if isinstance(route, APIRoute) and _is_direct(route):
            for method in route.methods or ():
                found.setdefault((method, route.path), route)
    return found


def _is_direct(route: APIRoute) -> bool:
    """Whether a function is a coroutine of a request, and nothing else, that returns a response."""
    if "{" in route.path or route.dependencies or not inspect.iscoroutinefunction(route.endpoint):
        return False
    hints = get_type_hints(route.endpoint)
    returned = hints.pop("return", None)
    return returned is Response and list(hints.values()) == [Request]
