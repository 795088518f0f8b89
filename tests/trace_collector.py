"""A collector of traces: it keeps the spans that processes send over HTTP."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """A span as it was received.

    Attributes:
        service: that sent it.
        name: of the span.
        trace: its trace's id, in hexadecimal digits.
        id: of the span.
        parent: id of the span above it; empty: it is the first.
        seconds: that it took.
    """

    service: str
    name: str
    trace: str
    id: str
    parent: str
    seconds: float


class Collector:
    """What was received.

    Attributes:
        url: where spans are sent.
        spans: in the order of their arrival.
        requests: that have arrived, each with any number of spans.
    """

    def __init__(self, url: str) -> None:
        self.url, self.spans, self.requests = url, list[Span](), 0

    def trace(self, trace: str, *names: str, seconds: float = 40) -> dict[str, Span]:
        """The spans of one trace by name, once all of these names are among them."""
        limit = time.monotonic() + seconds
        while True:
            found = {each.name: each for each in self.spans if each.trace == trace}
            if set(names) <= found.keys():
                return found
            assert time.monotonic() < limit, (sorted(found), sorted(names))
            time.sleep(0.2)

    def is_connected(self, trace: str, root: str) -> bool:
        """Whether every span of a trace hangs below one that was received, or below the root."""
        spans = [each for each in self.spans if each.trace == trace]
        known = {each.id for each in spans} | {root}
        return all(each.parent in known for each in spans)


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a port of the system's choice."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            made.requests += 1
            sent = ExportTraceServiceRequest.FromString(body)
            for resource in sent.resource_spans:
                facts = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    made.spans += [
                        Span(
                            facts["service.name"],
                            each.name,
                            each.trace_id.hex(),
                            each.span_id.hex(),
                            each.parent_span_id.hex(),
                            (each.end_time_unix_nano - each.start_time_unix_nano) / 1e9,
                        )
                        for each in scope.spans
                    ]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
