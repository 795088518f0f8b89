"""Builds the app: `create_app(settings)`. Importing this module does nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from isslim import __version__
from isslim.service import problems
from isslim.service.context import AppContext
from isslim.service.middleware import BodyLimit, RequestMetrics
from isslim.service.openapi import DocumentedApp
from isslim.service.routes import (
    compress,
    graphs,
    health,
    inspect,
    jobs,
    latency,
    models,
    qa,
    score,
    sweeps,
)
from isslim.settings.service import ServiceSettings
from isslim.types.kinds.plugins import RUNTIME, SERVICE, load_plugins, plugin_module

UPLOAD_ROOM_BYTES = 1 << 20
"""Allowance for the form around an upload."""


def create_app(settings: ServiceSettings | None = None) -> FastAPI:
    """The service.

    Args:
        settings: by default from the environment.
    """
    chosen = settings or ServiceSettings()
    load_plugins(chosen.kinds, RUNTIME)
    context = AppContext.build(chosen)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        context.close()

    app = DocumentedApp(
        title="isslim",
        summary="Makes trained recurrent networks small and fast, proves it, and serves both "
        "versions.",
        version=__version__,
        lifespan=lifespan,
    )
    app.state.context = context
    problems.install(app)
    for module in (
        score,
        qa,
        graphs,
        compress,
        inspect,
        sweeps,
        jobs,
        latency,
        models,
        health,
    ):  # matched in this order: the most frequent first
        app.include_router(module.router)
    for package in chosen.kinds:
        app.include_router(plugin_module(package, SERVICE).router)
    app.add_middleware(
        BodyLimit,
        limit=chosen.body_limit_bytes,
        upload_limit=chosen.upload_limit_bytes + UPLOAD_ROOM_BYTES,
    )
    app.add_middleware(RequestMetrics, histogram=context.metrics.requests)
    return app
