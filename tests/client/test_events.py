"""A job is followed by its events, over restarts, and polled where there are none."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isslim.client.transport
from isslim.client.api import Client, ProblemError, Unreachable
from isslim.client.events import Event, Position, lines_of, read_events
from isslim.store.attempts import Attempt, Reached
from isslim.store.records import JobRecords
from isslim.store.settings import StoreSettings
from isslim.types.jobs import Job, JobState
from tests.jobs import begin
from tests.service.served import served, wait_for


class Followed:
    """A job, followed in a thread of its own.

    Attributes:
        seen: the job at every change.
    """

    def __init__(self, client: Client, job_id: str) -> None:
        self.seen: list[Job] = []
        self._thread = threading.Thread(
            target=client.wait, args=(job_id, self.seen.append), daemon=True
        )
        self._thread.start()

    def until(self, count: int) -> None:
        limit = time.monotonic() + 20
        while len(self.seen) < count:
            assert time.monotonic() < limit, [job.message for job in self.seen]
            time.sleep(0.02)

    def ended(self) -> list[str]:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return [job.message for job in self.seen]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events") / "home"


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[served]:
    made = served(home, {})
    with made:
        yield made


@pytest.fixture(scope="module")
def records(home: Path, service: served) -> Iterator[JobRecords]:
    made = JobRecords(StoreSettings(home=home))
    yield made
    made.close()


def queued(client: Client, folder: Path) -> str:
    (folder / "m.pt").write_bytes(str(folder).encode())  # of which there is no job yet
    return client.compress(folder / "m.pt").id


def advance(records: JobRecords, attempt: Attempt, message: str) -> None:
    assert records.attempts.advance(attempt, Reached("search", 0.5, message, [message]))


def test_every_change_arrives_once_and_the_last_one_ends_it(
    service: served, records: JobRecords, tmp_path: Path
) -> None:
    with Client(service.url) as client:
        job_id = queued(client, tmp_path)
        followed = Followed(client, job_id)
        followed.until(1)
        attempt = begin(records, job_id)
        followed.until(2)
        advance(records, attempt, "a\u2028b")  # which Python takes for two lines
        followed.until(3)
        assert records.cancel(job_id, 1)
        assert followed.ended() == ["", "starting", "a\u2028b", "a\u2028b"]
        assert followed.seen[-1].state is JobState.CANCELLED
        assert client.wait(job_id) == followed.seen[-1]


@pytest.mark.slow
def test_restart_of_the_service_repeats_and_loses_nothing(
    service: served, records: JobRecords, tmp_path: Path
) -> None:
    with Client(service.url) as client:
        job_id = queued(client, tmp_path)
        attempt = begin(records, job_id)
        followed = Followed(client, job_id)
        followed.until(1)
        service.process.terminate()
        service.process.wait(timeout=20)
        service.__enter__()  # on the same port, and for the tests after this one too
        time.sleep(1.5)  # connected again, and told nothing that it knows
        advance(records, attempt, "later")
        followed.until(2)
        assert records.cancel(job_id, 1)
        assert followed.ended() == ["starting", "later", "later"]


def test_unknown_job_and_absent_service_are_said_at_once(service: served) -> None:
    with Client(service.url) as client, pytest.raises(ProblemError) as refused:
        client.wait("nope")
    assert refused.value.status == 404
    with Client("http://127.0.0.1:1") as client, pytest.raises(Unreachable):
        client.wait("nope")


class Proxy(ThreadingHTTPServer):
    """Forwards requests for JSON; of events it makes what `events` says."""

    daemon_threads = True
    target = ""
    events = "refused"


class _Forward(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        if self.path.endswith("/events"):
            if self.server.events == "withheld":
                time.sleep(5)
            self.send_response(502 if self.server.events == "refused" else 200)
            self.end_headers()
            self.wfile.write(b"<html>")
            return
        with urllib.request.urlopen(f"{self.server.target}{self.path}") as answer:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(answer.read())

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    "events",
    ["refused", *(pytest.param(each, marks=pytest.mark.slow) for each in ("a page", "withheld"))],
)
def test_job_is_polled_where_no_events_are_to_be_had(
    events: str,
    service: served,
    records: JobRecords,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(isslim.client.transport, "SILENCE_SECONDS", 0.3)
    with Client(service.url) as client:
        job_id = queued(client, tmp_path)
    with Proxy(("127.0.0.1", 0), _Forward) as proxy:
        proxy.target, proxy.events = service.url, events
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            with Client(f"http://127.0.0.1:{proxy.server_port}") as client:
                followed = Followed(client, job_id)
                followed.until(1)
                begin(records, job_id)
                followed.until(2)
                assert records.cancel(job_id, 1)
                assert followed.ended() == ["", "starting", "starting"]
        finally:
            proxy.shutdown()
            thread.join()


def test_follower_that_knows_the_last_event_is_told_nothing_again(
    service: served, records: JobRecords, tmp_path: Path
) -> None:
    with Client(service.url) as client:
        wait_for(client)
        job_id = queued(client, tmp_path)
    assert records.cancel(job_id, 1)
    url = f"{service.url}/jobs/{job_id}/events"
    first = httpx.get(url)
    assert first.headers["content-type"].startswith("text/event-stream")
    lines = first.text.splitlines()
    assert "retry: 1000" in lines
    (event_id,) = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
    assert httpx.get(url, headers={"last-event-id": event_id}).status_code == 204
    assert "event: job" in httpx.get(url, headers={"last-event-id": "another"}).text


def test_stream_that_is_cut_off_gives_no_half_event() -> None:
    stream = (
        b": hello\n\nretry: 2500\n\nid: 7\r\nevent: job\r\ndata: {\ndata: }\n\nid: 8\ndata: half\n"
    )
    for size in (1, 3, 1000):
        pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
        position = Position()
        assert list(read_events(lines_of(pieces), position)) == [Event("job", "{\n}")]
        assert position == Position("7", 2.5)


@given(st.lists(st.text(), max_size=5), st.integers(1, 20))
def test_any_text_comes_through_in_any_pieces(texts: list[str], size: int) -> None:
    written = [json.dumps(text, ensure_ascii=False) for text in texts]
    stream = "".join(f"data: {each}\n\n" for each in written).encode()
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
    found = [json.loads(each.data) for each in read_events(lines_of(pieces), Position())]
    assert found == texts
