"""Builds the app: `create_app(settings)`. Importing this module does nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES

from isslim import __version__
from isslim.service import problems
from isslim.service.access.middleware import Access
from isslim.service.access.trail import Trail
from isslim.service.compression import Compression
from isslim.service.context import AppContext
from isslim.service.direct_routes import DirectRoutes, direct_routes
from isslim.service.inference_protocol import routes as inference_protocol
from isslim.service.middleware import BodyLimit, BodyLimits, RequestMetrics
from isslim.service.openai import routes as openai
from isslim.service.openapi import DocumentedApp
from isslim.service.prefix import Prefix
from isslim.service.request_id import RequestId
from isslim.service.request_spans import DirectPaths, RequestSpans
from isslim.service.routes import (
    about,
    aliases,
    audit,
    compress,
    generate,
    graphs,
    health,
    inspect,
    jobs,
    kinds,
    latency,
    models,
    page,
    qa,
    score,
    status,
    sweeps,
)
from isslim.service.served_model import ServedModel
from isslim.service.siblings import Siblings
from isslim.settings.service import ServiceSettings
from isslim.store.private import Private
from isslim.types.kinds.plugins import RUNTIME, SERVICE, load_plugins, plugin_module

ROOM_BYTES, JSON_VALUE_BYTES = 1 << 20, 25
"""Allowance for the form around an upload or the headers of arrays, and for a number as JSON:
-2.2250738585072014e-308 and a comma."""
GZIP: dict[str, Any] = {
    "minimum_size": 1024,
    "compresslevel": 5,
    "exclude_content_types": (
        *DEFAULT_EXCLUDED_CONTENT_TYPES,
        "application/octet-stream",
        "application/x-npz",
    ),
}
"""What is compressed on its way: weights hardly shrink, and events must not be held back."""


def create_app(
    settings: ServiceSettings | None = None, siblings: Siblings | None = None
) -> DocumentedApp:
    """The service.

    Args:
        settings: by default from the environment.
        siblings: its other processes; by default there are none.
    """
    chosen = settings or ServiceSettings()
    load_plugins(chosen.kinds, RUNTIME)
    context = AppContext.build(chosen, siblings or Siblings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _grpc(context):
            yield
        context.close()

    traced = DirectPaths()
    # With the provider of `isslim.store.tracing`.
    telemetry: TelemetryConfig = {"auto_configure": False, "exclude": traced.exclude}
    app = DocumentedApp(
        chosen.root_path, version=__version__, lifespan=lifespan, telemetry=telemetry
    )
    app.state.context, app.state.run_limit = context, _run_limit(chosen)
    problems.install(app)
    problems.hide_by(Private(chosen, chosen.api_keys_file).hide)
    routers = [  # matched in this order: the most frequent first
        module.router
        for module in (
            score,
            generate,
            openai,
            qa,
            graphs,
            inference_protocol,
            compress,
            inspect,
            sweeps,
            jobs,
            latency,
            models,
            kinds,
            aliases,
            audit,
            health,
            status,
            about,
        )
    ]
    routers.append(openai.of_model)
    if chosen.ui:
        routers.append(page.router)
    routers += [plugin_module(package, SERVICE).router for package in chosen.kinds]
    for router in routers:
        app.include_router(router)
    direct = traced.routes = direct_routes(route for router in routers for route in router.routes)
    app.router.middleware_stack = DirectRoutes(app.router.middleware_stack, direct)
    app.add_middleware(
        BodyLimit,
        limits=BodyLimits(
            ordinary=chosen.body_limit_bytes,
            upload=chosen.upload_limit_bytes + ROOM_BYTES,
            run=app.state.run_limit,
        ),
        large=context.large_bodies,
    )
    app.add_middleware(Compression, **GZIP)
    app.add_middleware(ServedModel, trials=context.trials)
    app.add_middleware(Access, control=context.access, trail=Trail(context.audit))
    app.add_middleware(RequestMetrics, metrics=context.metrics)
    app.add_middleware(RequestSpans, paths=traced)
    app.add_middleware(RequestId)
    if chosen.root_path:
        app.add_middleware(Prefix, prefix=chosen.root_path)
    return app


def _grpc(context: AppContext) -> AbstractAsyncContextManager[None]:
    """The server of the protocol over gRPC, where a port is set for it; the library is optional."""
    settings = context.settings
    if settings.grpc_port is None:
        return nullcontext()
    from isslim.service.inference_protocol.grpc_server import grpc_server

    return grpc_server(context, settings.grpc_port, settings.array_bytes_limit + ROOM_BYTES)


def _run_limit(settings: ServiceSettings) -> int:
    """Bytes of the largest body of a run: what the limits on arrays and JSON values allow.

    It is at least that of any other request.
    """
    arrays = settings.array_bytes_limit + ROOM_BYTES
    return max(settings.body_limit_bytes, arrays, JSON_VALUE_BYTES * settings.json_values_limit)
