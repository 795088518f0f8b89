"""More requests than are allowed are refused, over all processes together, and said when again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import limits
import pytest
from fastapi.testclient import TestClient
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from isslim.service.access import counters
from isslim.service.access.caller import Caller
from isslim.service.access.counters import SharedCounters
from isslim.service.access.rates import RateExceeded, Rates
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.types.access import KeyLimits, Scope
from tests.conftest import Published
from tests.service.access.conftest import Keys, make_keys
from tests.service.served import served

SCORE = {"model": "tiny", "texts": ["the cat"]}


@pytest.fixture
def rated(published: Published) -> Iterator[TestClient]:
    with TestClient(
        create_app(ServiceSettings(home=published.settings.home, rate="60/minute"))
    ) as made:
        yield made


def test_200_requests_at_60_a_minute(rated: TestClient) -> None:
    answers = [rated.get("/v1/models/tiny:original") for _ in range(200)]
    statuses = [each.status_code for each in answers]
    assert statuses == [200] * 60 + [429] * 140
    assert [int(each.headers["ratelimit-remaining"]) for each in answers[:60]] == [*range(60)][::-1]
    assert {each.headers["ratelimit-limit"] for each in answers} == {"60"}
    for each in answers[60:]:
        assert 1 <= int(each.headers["retry-after"]) <= 60
        assert each.headers["retry-after"] == each.headers["ratelimit-reset"]
        assert each.json()["error"]["code"] == "rate_limit_exceeded"
    refused = rated.post("/score", json=SCORE)
    assert refused.status_code == 429
    assert refused.json()["type"] == "rate-limited"
    assert refused.headers["content-type"] == "application/problem+json"
    assert "an address may send 60/minute requests" in refused.json()["detail"]
    # Monitoring and the documentation are not counted.
    for path in ("/health/live", "/health/ready", "/metrics", "/v2/health/live", "/docs"):
        assert rated.get(path).status_code == 200


def test_keys_have_rates_of_their_own(tmp_path: Path, published: Published) -> None:
    keys = make_keys(tmp_path, slow=[Scope.READ], quick=[Scope.READ])
    text = keys.file.read_text().splitlines()
    keys.file.write_text(
        "\n".join(f"{each} rate=2/minute" if "slow" in each else each for each in text)
    )
    settings = ServiceSettings(
        home=published.settings.home, api_keys_file=keys.file, rate="4/minute"
    )
    with TestClient(create_app(settings)) as client:

        def statuses(headers: dict[str, str]) -> list[int]:
            return [client.get("/models", headers=headers).status_code for _ in range(6)]

        assert statuses(keys.headers("slow")) == [200] * 2 + [429] * 4
        assert statuses(keys.headers("quick")) == [200] * 4 + [429] * 2
        # Who has no key, or a wrong one, is counted by the address.
        assert statuses({}) == [401] * 4 + [429] * 2
        assert statuses({"x-api-key": "nonsense"}) == [429] * 6


@pytest.mark.slow
def test_processes_count_together(published: Published, tmp_path: Path) -> None:
    limits = {"ISS_RATE": "30/minute", "ISS_PROCESSES": "2"}
    with served(published.settings.home, limits) as url:
        found = []
        for _ in range(6):  # connections, each of which goes to either process
            with httpx.Client(base_url=url) as client:
                found += [client.get("/models").status_code for _ in range(8)]
    assert found.count(200) == 30
    assert found.count(429) == 18


def test_window_ends(published: Published) -> None:
    rates = Rates("3/second", None)
    caller = Caller(None, frozenset(Scope), "192.0.2.1")
    assert [rates.spend(caller).remaining for _ in range(3)] == [2, 1, 0]  # type: ignore[union-attr]
    with pytest.raises(RateExceeded) as caught:
        rates.spend(caller)
    assert caught.value.allowance.reset == 1
    time.sleep(1.01)
    assert rates.spend(caller) is not None


def test_an_ipv6_network_is_one_sender() -> None:
    rates = Rates("2/minute", None)

    def spend(address: str, **more: KeyLimits) -> None:
        rates.spend(Caller(None, frozenset(Scope), address, **more))

    spend("2001:db8:1:1::1")
    spend("2001:db8:1:1:ffff::2")
    with pytest.raises(RateExceeded):
        spend("2001:db8:1:1::3")
    spend("2001:db8:1:2::1")
    spend("192.0.2.1")
    spend("not an address: at all")
    spend("192.0.2.1", limits=KeyLimits(rate="1000/hour"))


def test_counters_are_those_of_the_library(tmp_path: Path) -> None:
    """The library's own storage is the reference."""
    theirs = FixedWindowRateLimiter(MemoryStorage())
    ours = FixedWindowRateLimiter(SharedCounters(tmp_path))
    item = limits.parse("7/minute")
    for number in range(60):
        who = f"caller-{number % 5}"
        assert ours.hit(item, who) == theirs.hit(item, who)
        mine, reference = (each.get_window_stats(item, who) for each in (ours, theirs))
        assert mine.remaining == reference.remaining
        assert 0 < mine.reset_time - time.monotonic() <= 60
    ours.clear(item, "caller-0")
    assert ours.test(item, "caller-0")
    assert not ours.test(item, "caller-1")
    ours.storage.reset()
    assert ours.test(item, "caller-1")
    assert ours.storage.check()


def test_two_tables_over_one_file_are_one(tmp_path: Path) -> None:
    tables = [SharedCounters(tmp_path) for _ in range(4)]

    def count(table: SharedCounters) -> None:
        for _ in range(500):
            table.incr("one", 60)

    threads = [threading.Thread(target=count, args=(each,)) for each in tables]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {each.get("one") for each in tables} == {2000}


def test_many_callers_do_not_fill_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "SLOTS", 64)
    table = SharedCounters(None)
    for number in range(1000):
        assert table.incr(f"caller-{number}", 60 + number) == 1
    assert table.get("caller-999") == 1


@pytest.mark.parametrize(
    "rate", ["60", "0/minute", "60/fortnight", "60/minute; 1/second", "-1/day"]
)
def test_wrong_rate_is_refused_at_the_start(rate: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        ServiceSettings(rate=rate)


def test_grpc_counts_too(published: Published, keys: Keys) -> None:
    grpc = pytest.importorskip("grpc", reason="gRPC is optional: pip install 'isslim[grpc]'")
    from isslim.demo.ports import free_port

    port = free_port()
    settings = ServiceSettings(
        home=published.settings.home, grpc_port=port, api_keys_file=keys.file, rate="3/minute"
    )
    metadata = (("x-api-key", keys.by_name["read"]),)
    with TestClient(create_app(settings)) as client:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask = channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")
            assert [bool(ask(b"", metadata=metadata, timeout=20)) for _ in range(3)] == [True] * 3
            with pytest.raises(grpc.RpcError) as caught:
                ask(b"", metadata=metadata, timeout=20)
            assert caught.value.code().name == "RESOURCE_EXHAUSTED"
        assert client.get("/models", headers=keys.headers("read")).status_code == 429
