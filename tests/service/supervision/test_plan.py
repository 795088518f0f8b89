"""How many processes are chosen, and what each may take."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from isslim.service.supervision.plan import LEAST_BYTES, plan_of
from isslim.settings.service import ServiceSettings


@pytest.mark.parametrize(
    ("processes", "threads", "gib", "cores", "expected"),
    [
        ("auto", 1, 4, 2, "2 processes x 1 thread on 2 cores: ISS_PROCESSES is auto: a core for"),
        ("auto", 4, 4, 8, "2 processes x 4 threads on 8 cores: ISS_PROCESSES is auto: a core for"),
        ("auto", 4, 4, 2, "1 process x 4 threads on 2 cores: "),
        ("auto", 1, 4, 64, "8 processes x 1 thread on 64 cores: ISS_PROCESSES is auto, and ISS_ME"),
        (3, 1, 4, 4, "3 processes x 1 thread on 4 cores: ISS_PROCESSES is 3"),
        (3, 1, 4, 1, "3 processes x 1 thread on 1 core: ISS_PROCESSES is 3, and they compete"),
    ],
)
def test_plan(processes: int | str, threads: int, gib: int, cores: int, expected: str) -> None:
    settings = ServiceSettings(
        processes=processes,  # type: ignore[arg-type]
        threads=threads,
        memory_limit_bytes=gib << 30,
    )
    assert str(plan_of(settings, cores)).startswith(expected)


def test_both_are_chosen_unless_the_threads_are_set() -> None:
    chosen = plan_of(ServiceSettings(processes="auto"), 4)
    assert (chosen.processes, chosen.threads) == (4, 1)
    assert str(chosen).endswith("auto: a core each, as second threads gain less")
    asked = plan_of(ServiceSettings(processes="auto", threads=2), 4)
    assert (asked.processes, asked.threads) == (2, 2)
    assert asked.reason.endswith("a core for every thread of a run (ISS_THREADS)")


def test_little_memory_is_left_to_one_process() -> None:
    settings = ServiceSettings(processes="auto", memory_limit_bytes=LEAST_BYTES // 2)
    assert plan_of(settings, 16).processes == 1


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_shares_are_the_whole(processes: int) -> None:
    whole = ServiceSettings(memory_limit_bytes=1_000_003, runs_at_once=8, waiting_limit=65)
    shares = [whole.share(index, processes) for index in range(processes)]
    for limit in ("memory_limit_bytes", "runs_at_once", "waiting_limit"):
        parts = [getattr(share, limit) for share in shares]
        assert sum(parts) == getattr(whole, limit)
        assert max(parts) - min(parts) <= 1
    assert {share.processes for share in shares} == {processes}


def test_every_process_runs_something() -> None:
    whole = ServiceSettings(runs_at_once=1, waiting_limit=0)
    assert [whole.share(index, 2).runs_at_once for index in range(2)] == [1, 1]
    assert [whole.share(index, 2).waiting_limit for index in range(2)] == [0, 0]


@pytest.mark.parametrize("wrong", [0, -1, 257, "many", "", "1.5", 2.5, "9" * 5000])
def test_wrong_numbers_are_refused(wrong: object) -> None:
    with pytest.raises(ValidationError, match="`auto` or a whole number from 1 to 256"):
        ServiceSettings(processes=wrong)  # type: ignore[arg-type]
