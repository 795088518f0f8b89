"""Traces by OpenTelemetry, where `OTEL_*` variables name a collector; else nothing of it is loaded.

Service and worker begin to trace once, at their start. A job's trace goes on in the worker: its
context travels with the job in the queue.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

_LOG = logging.getLogger("isslim.tracing")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables of which one names the collector; without one there are no traces."""
_NOTHING = nullcontext()
Fact = str | int


class LightSpan:
    """A span that costs a request little: noted while it runs, and made when its maker ends it.

    The SDK's own take locks, sample and check every attribute as they go: 30 microseconds each, of
    which a short request has four.

    Args:
        spans: that it is one of.
        name: of the span.
        own: its context, of the SDK.
        parent: that of the span above it; None: it is the first of its trace.

    Attributes:
        facts: its attributes, to which more may be added.
        failed: whether what it is of did.
        serves: whether it is that of a request.
    """

    __slots__ = ("_spans", "began", "facts", "failed", "name", "own", "parent", "serves")

    def __init__(self, spans: _Spans, name: str, own: Any, parent: Any) -> None:
        self._spans, self.name, self.own, self.parent = spans, name, own, parent
        self.facts: dict[str, Fact] = {}
        self.began, self.failed, self.serves = time.time_ns(), False, False

    def end(self) -> None:
        """Ends it."""
        self._spans.send(self)


class _Spans:
    """Makes spans as the SDK hands them to its exporter, and obeys its sampler.

    Args:
        name: of the process.

    Raises:
        ImportError: when the SDK or its exporter is not there.
    """

    def __init__(self, name: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import ReadableSpan, TracerProvider, sampling
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._resource = Resource.create({"service.name": name})
        # Behind what may not be there: without it nothing is loaded.
        from opentelemetry import propagate, trace
        from opentelemetry.context import Context

        provider = TracerProvider(resource=self._resource)
        self.processor = BatchSpanProcessor(OTLPSpanExporter())
        provider.add_span_processor(self.processor)
        trace.set_tracer_provider(provider)
        self._sampler, self._ids = provider.sampler, provider.id_generator
        self._sampled = sampling.Decision.RECORD_AND_SAMPLE
        self._headers = {each.lower() for each in propagate.get_global_textmap().fields}
        self._trace, self._extract, self._context = trace, propagate.extract, Context
        self._readable, self._scope = ReadableSpan, InstrumentationScope("isslim")
        self._status = {
            failed: trace.Status(trace.StatusCode.ERROR if failed else trace.StatusCode.UNSET)
            for failed in (False, True)
        }
        self._flags = {
            sampled: trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else 0)
            for sampled in (False, True)
        }

    def begin(self, name: str, context: Any) -> LightSpan:
        """A span below that of a context, or the first of a trace.

        Args:
            name: of the span.
            context: None: that of this task or thread.
        """
        above = self._trace.get_current_span(context).get_span_context()
        number = above.trace_id if above.is_valid else self._ids.generate_trace_id()
        if above.is_valid and not above.is_remote:  # within a process all go with the first one
            flags, state = above.trace_flags, above.trace_state
        else:
            found = self._sampler.should_sample(context, number, name, self._trace.SpanKind.SERVER)
            flags = self._flags[found.decision is self._sampled]
            state = found.trace_state or above.trace_state
        ids = number, self._ids.generate_span_id()
        own = self._trace.SpanContext(*ids, False, flags, state)
        return LightSpan(self, name, own, above if above.is_valid else None)

    def sent(self, headers: Mapping[str, str]) -> Any:
        """The context that a sender names; an empty one, if it names none.

        Args:
            headers: of its request, names in lower case.
        """
        if self._headers.isdisjoint(headers):
            return self._context()
        return self._extract(headers, self._context())

    def below(self, span: LightSpan) -> Any:
        """The context of what is done for a span."""
        return self._trace.set_span_in_context(self._trace.NonRecordingSpan(span.own))

    def send(self, span: LightSpan) -> None:
        """Hands a span to the exporter, if it is among those that are sent."""
        kinds = self._trace.SpanKind
        if span.own.trace_flags.sampled:
            self.processor.on_end(
                self._readable(
                    span.name,
                    span.own,
                    span.parent,
                    self._resource,
                    span.facts,
                    kind=kinds.SERVER if span.serves else kinds.INTERNAL,
                    status=self._status[span.failed],
                    start_time=span.began,
                    end_time=time.time_ns(),
                    instrumentation_scope=self._scope,
                )
            )


_spans: _Spans | None = None


def begin_tracing(name: str) -> None:
    """Begins to trace, if a collector is named.

    Args:
        name: of the process's kind, such as `isslim-worker`; `OTEL_SERVICE_NAME` is stronger.
    """
    global _spans
    if not any(map(os.environ.get, ENDPOINTS)) or _is_turned_off():
        return
    try:
        _spans = _Spans(os.environ.get("OTEL_SERVICE_NAME", name))
    except ImportError:
        variable = next(each for each in ENDPOINTS if os.environ.get(each))
        _LOG.warning(
            "%s is set, and there are no traces: they need `pip install 'isslim[otel]'`", variable
        )


def _is_turned_off() -> bool:
    turned_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return turned_off or os.environ.get("OTEL_TRACES_EXPORTER", "").lower() == "none"


def end_tracing() -> None:
    """Sends what is left, for at most a few seconds; before a process ends without returning."""
    if _spans is not None:
        _spans.processor.force_flush(3000)


def is_tracing() -> bool:
    """Whether there are traces."""
    return _spans is not None


def trace_context() -> Any:
    """The context of the span that this task or thread works for; None: there are no traces."""
    if _spans is None:
        return None
    from opentelemetry import context

    return context.get_current()


def trace_id() -> str | None:
    """The id of the trace that this task or thread works for; None: there is none."""
    if _spans is None:
        return None
    from opentelemetry import trace

    found = trace.get_current_span().get_span_context()
    return format(found.trace_id, "032x") if found.is_valid else None


def start_span(
    name: str, parent: Any, facts: Mapping[str, str] | None = None, began_ns: int | None = None
) -> LightSpan | None:
    """A span, which its caller ends; None: there are no traces.

    Args:
        name: of the span.
        parent: as `trace_context` returned it.
        facts: its attributes.
        began_ns: since when, by `time.time_ns`; None: from now.
    """
    if _spans is None:
        return None
    made = _spans.begin(name, parent)
    made.facts.update(facts or {})
    if began_ns is not None:
        made.began = began_ns
    return made


def span(name: str, parent: Any, facts: Mapping[str, str]) -> AbstractContextManager[None]:
    """A span for the duration of the block, in whatever thread.

    Args:
        name: of the span.
        parent: as `trace_context` returned it.
        facts: its attributes.
    """
    return _NOTHING if _spans is None else _span(_spans.begin(name, parent), facts)


@contextmanager
def _span(made: LightSpan, facts: Mapping[str, str]) -> Iterator[None]:
    made.facts.update(facts)
    try:
        yield
    finally:
        made.end()


@contextmanager
def request_span(name: str, sent: Mapping[str, str]) -> Iterator[LightSpan | None]:
    """A span of a request, below its sender's own; what the block does is below it.

    Args:
        name: of the span.
        sent: headers of the request, names in lower case.
    """
    if _spans is None:
        yield None
        return
    from opentelemetry import context

    made = _spans.begin(name, _spans.sent(sent))
    made.serves = True
    token = context.attach(_spans.below(made))
    try:
        yield made
    except BaseException:
        made.failed = True
        raise
    finally:
        context.detach(token)
        made.end()
