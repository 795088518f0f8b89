"""Names of processes: of which it can be told that they have ended, and of which it cannot."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from isslim.store import processes
from isslim.store.processes import has_ended, process_token
from tests.store.conftest import Telling


def test_each_token_is_another_and_of_this_process() -> None:
    tokens = {process_token() for _ in range(3)}
    assert len(tokens) == 3
    for token in tokens:
        assert len(token) <= 64  # a column of the database holds it
        assert has_ended(token) is False


def test_process_has_ended_when_the_kernel_says_so(telling: Telling) -> None:
    process, token = telling.process, telling.token
    assert has_ended(token) is False
    process.send_signal(signal.SIGSTOP)
    assert has_ended(token) is False  # it may go on
    process.kill()
    # Until its parent has waited for it, it has an id, and has ended.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(token) is True
    process.wait()
    assert has_ended(token) is True


def test_id_that_is_used_again_is_of_another_process() -> None:
    random, here, process, began = process_token().split("-")
    assert has_ended(f"{random}-{here}-{process}-{int(began) - 1}") is True


def test_of_processes_that_the_system_hides_nobody_can_tell(
    telling: Telling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = process_token()
    telling.process.kill()
    telling.process.wait()
    monkeypatch.setattr(processes, "_PROC", tmp_path)  # as `hidepid` shows those of other users
    assert has_ended(token) is None
    assert has_ended(telling.token) is True


@pytest.mark.parametrize("token", ["", "token", "0123456789abcdef", "a-b", "a-b-c-d", "a---", "-"])
def test_what_names_no_process_tells_nothing(token: str) -> None:
    assert has_ended(token) is None


def test_of_other_machines_and_containers_nobody_can_tell() -> None:
    random, here, process, began = process_token().split("-")
    boot, _, container = here.partition(".")
    for other in (f"00000000.{container}", f"{boot}.1"):
        assert has_ended(f"{random}-{other}-{process}-{began}") is None
        assert has_ended(f"{random}-{other}-999999999-{began}") is None
    assert has_ended(f"{random}-{here}-999999999-{began}") is True
