"""Traces by OpenTelemetry, where `OTEL_*` variables name a collector; else nothing of it is loaded.

Service and worker begin to trace once, at their start. A job's trace goes on in the worker: its
context travels with the job in the queue.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

_LOG = logging.getLogger("isslim.tracing")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables of which one names the collector; without one there are no traces."""
_NOTHING = nullcontext()
Fact = str | int


class LightSpan:
    """A span that costs a request little: a note while it runs, of which a span is made later.

    The SDK's own take locks, sample and check every attribute as they go: 30 microseconds each, of
    which a short request has four. Ids, too, are drawn when they are first asked for.

    Args:
        spans: that it is one of.
        name: of the span.
        above: the span above it; or a context of the SDK; or what gives one when it is needed.

    Attributes:
        facts: its attributes, to which more may be added.
        failed: whether what it is of did.
        serves: whether it is that of a request.
        began: by `time.time_ns`.
        ended: the same; 0: it has not.
    """

    __slots__ = ("_found", "_spans", "above", "began", "ended", "facts", "failed", "name", "serves")

    def __init__(self, spans: _Spans, name: str, above: Any) -> None:
        self._spans, self.name, self.above = spans, name, above
        self.facts: dict[str, Fact] = {}
        self.began, self.ended, self.failed, self.serves = time.time_ns(), 0, False, False
        self._found: tuple[Any, Any] | None = None

    @property
    def found(self) -> tuple[Any, Any]:
        """Its context, of the SDK, and that of the span above it; None: it is a trace's first."""
        if self._found is None:
            with self._spans.one:
                if self._found is None:
                    self._found = self._spans.placed(self.name, self.above)
        return self._found

    @property
    def context(self) -> Any:
        """What the SDK asks before it queues a span: that it is one to send, as yet."""
        return self._spans.any_context

    def end(self) -> None:
        """Ends it."""
        self.ended = time.time_ns()
        self._spans.processor.on_end(self)


class _Spans:
    """Makes spans as the SDK hands them to its exporter, in the thread that sends them.

    It obeys the SDK's sampler.

    Args:
        name: of the process.

    Attributes:
        processor: takes spans that have ended.
        any_context: of a span that is sampled.
        one: held while the ids of a span are drawn.

    Raises:
        ImportError: when the SDK or its exporter is not there.
    """

    def __init__(self, name: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import ReadableSpan, TracerProvider, sampling
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._resource = Resource.create({"service.name": name})
        # Behind what may not be there: without it nothing is loaded.
        from opentelemetry import propagate, trace
        from opentelemetry.context import Context, get_current

        provider = TracerProvider(resource=self._resource)
        self._exporter: Any = OTLPSpanExporter()
        own: Any = self
        self.processor: Any = BatchSpanProcessor(own)
        provider.add_span_processor(self.processor)
        trace.set_tracer_provider(provider)
        self._sampler, self._ids = provider.sampler, provider.id_generator
        self._sampled, self._sent = sampling.Decision.RECORD_AND_SAMPLE, SpanExportResult.SUCCESS
        self._headers = {each.lower() for each in propagate.get_global_textmap().fields}
        self._trace, self._extract, self._context = trace, propagate.extract, Context
        self.current_context = get_current
        self._readable, self._scope = ReadableSpan, InstrumentationScope("isslim")
        self._status = {
            failed: trace.Status(trace.StatusCode.ERROR if failed else trace.StatusCode.UNSET)
            for failed in (False, True)
        }
        self._flags = {
            sampled: trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else 0)
            for sampled in (False, True)
        }
        self.any_context = trace.SpanContext(1, 1, False, self._flags[True])
        self.one = threading.RLock()

    def placed(self, name: str, above: Any) -> tuple[Any, Any]:
        """The context of a span, and that of the one above it.

        Args:
            name: of the span.
            above: see `LightSpan`.
        """
        if isinstance(above, LightSpan):
            parent, state = above.found[0], above.found[0].trace_state
            number, flags = parent.trace_id, parent.trace_flags
        else:
            context = above() if callable(above) else above
            parent = self._trace.get_current_span(context).get_span_context()
            number = parent.trace_id if parent.is_valid else self._ids.generate_trace_id()
            flags, state = parent.trace_flags, parent.trace_state
            if not parent.is_valid or parent.is_remote:  # within a process all go with the first
                kind = self._trace.SpanKind.SERVER
                decided = self._sampler.should_sample(context, number, name, kind)
                flags = self._flags[decided.decision is self._sampled]
                state = decided.trace_state or state
        own = self._trace.SpanContext(number, self._ids.generate_span_id(), False, flags, state)
        return own, parent if parent.is_valid else None

    def sent(self, headers: Mapping[str, str]) -> Any:
        """The context that a sender names; an empty one, if it names none.

        Args:
            headers: of its request, names in lower case.
        """
        if self._headers.isdisjoint(headers):
            return self._context()
        return self._extract(headers, self._context())

    def below(self, span: LightSpan) -> Any:
        """The SDK's context of what is done for a span."""
        return self._trace.set_span_in_context(self._trace.NonRecordingSpan(span.found[0]))

    def export(self, ended: Sequence[Any]) -> Any:
        """Sends spans, but for those that are not sampled; the SDK's thread calls this.

        Args:
            ended: notes of them, or the SDK's own.
        """
        notes = (self._made(each) if isinstance(each, LightSpan) else each for each in ended)
        sampled = [each for each in notes if each.context.trace_flags.sampled]
        return self._exporter.export(sampled) if sampled else self._sent

    def shutdown(self) -> None:
        """Ends the exporter."""
        self._exporter.shutdown()

    def _made(self, note: LightSpan) -> Any:
        """The SDK's span of a note."""
        kinds = self._trace.SpanKind
        own, parent = note.found
        return self._readable(
            note.name,
            own,
            parent,
            self._resource,
            note.facts,
            kind=kinds.SERVER if note.serves else kinds.INTERNAL,
            status=self._status[note.failed],
            start_time=note.began,
            end_time=note.ended,
            instrumentation_scope=self._scope,
        )


_CURRENT: ContextVar[LightSpan | None] = ContextVar("span_of_request", default=None)
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
    """What the spans of this task or thread are to be below; None: there are no traces."""
    if _spans is None:
        return None
    return _CURRENT.get() or _spans.current_context()


def sendable_context() -> Any:
    """The same as a context of the SDK, which another process can be sent."""
    found = trace_context()
    return _spans.below(found) if _spans and isinstance(found, LightSpan) else found


def trace_id() -> str | None:
    """The id of the trace that this task or thread works for; None: there is none."""
    if _spans is None:
        return None
    from opentelemetry import trace

    found = trace.get_current_span(sendable_context()).get_span_context()
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
    made = LightSpan(_spans, name, parent)
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
    return _NOTHING if _spans is None else _span(LightSpan(_spans, name, parent), facts)


@contextmanager
def _span(made: LightSpan, facts: Mapping[str, str]) -> Iterator[None]:
    made.facts.update(facts)
    try:
        yield
    finally:
        made.end()


@contextmanager
def request_span(name: str, sent: Callable[[], Mapping[str, str]]) -> Iterator[LightSpan | None]:
    """A span of a request, below its sender's own; what the block does is below it.

    Args:
        name: of the span.
        sent: gives the headers of the request, names in lower case; called where it is needed.
    """
    if _spans is None:
        yield None
        return
    spans = _spans
    made = LightSpan(spans, name, lambda: spans.sent(sent()))
    made.serves = True
    token = _CURRENT.set(made)
    try:
        yield made
    except BaseException:
        made.failed = True
        raise
    finally:
        _CURRENT.reset(token)
        made.end()
