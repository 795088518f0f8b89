"""Traces by OpenTelemetry, where `OTEL_*` variables name a collector; else nothing of it is loaded.

Service and worker begin to trace once, at their start. A job's trace goes on in the worker: its
context travels with the job in the queue.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

_LOG = logging.getLogger("isslim.tracing")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables of which one names the collector; without one there are no traces."""
_NOTHING = nullcontext()
_tracer: Any = None


def begin_tracing(name: str) -> None:
    """Begins to trace, if a collector is named.

    Args:
        name: of the process's kind, such as `isslim-worker`; `OTEL_SERVICE_NAME` is stronger.
    """
    global _tracer
    if not any(map(os.environ.get, ENDPOINTS)) or _is_turned_off():
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        variable = next(each for each in ENDPOINTS if os.environ.get(each))
        _LOG.warning(
            "%s is set, and there are no traces: they need `pip install 'isslim[otel]'`", variable
        )
        return
    from opentelemetry import trace

    named = os.environ.get("OTEL_SERVICE_NAME", name)
    provider = TracerProvider(resource=Resource.create({"service.name": named}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _tracer = trace.get_tracer("isslim")


def _is_turned_off() -> bool:
    turned_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return turned_off or os.environ.get("OTEL_TRACES_EXPORTER", "").lower() == "none"


def end_tracing() -> None:
    """Sends what is left, for at most a few seconds; before a process ends without returning."""
    if _tracer is not None:
        from opentelemetry import trace

        provider: Any = trace.get_tracer_provider()
        provider.force_flush(3000)


def is_tracing() -> bool:
    """Whether there are traces."""
    return _tracer is not None


def trace_context() -> Any:
    """The context of the span that this task or thread works for; None: there are no traces."""
    if _tracer is None:
        return None
    from opentelemetry import context

    return context.get_current()


def trace_id() -> str | None:
    """The id of the trace that this task or thread works for; None: there is none."""
    if _tracer is None:
        return None
    from opentelemetry import trace

    found = trace.get_current_span().get_span_context()
    return format(found.trace_id, "032x") if found.is_valid else None


def start_span(
    name: str, parent: Any, facts: Mapping[str, str] | None = None, began_ns: int | None = None
) -> Any:
    """A span, which its caller ends; None: there are no traces.

    Args:
        name: of the span.
        parent: as `trace_context` returned it.
        facts: its attributes.
        began_ns: since when, by `time.time_ns`; None: from now.
    """
    if _tracer is None:
        return None
    return _tracer.start_span(name, context=parent, start_time=began_ns, attributes=facts)


def span(name: str, parent: Any, facts: Mapping[str, str]) -> AbstractContextManager[None]:
    """A span for the duration of the block, in whatever thread.

    Args:
        name: of the span.
        parent: as `trace_context` returned it.
        facts: its attributes.
    """
    return _NOTHING if _tracer is None else _span(name, parent, facts)


@contextmanager
def _span(name: str, parent: Any, facts: Mapping[str, str]) -> Iterator[None]:
    made = start_span(name, parent, facts)
    try:
        yield
    finally:
        made.end()


@contextmanager
def call_span(name: str, sent: dict[str, str]) -> Iterator[None]:
    """A span of a request that came by another way than the web framework's.

    Args:
        name: of the span.
        sent: headers with the sender's own context, if it has one.
    """
    if _tracer is None:
        yield
        return
    from opentelemetry import propagate
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(name, context=propagate.extract(sent), kind=SpanKind.SERVER):
        yield
