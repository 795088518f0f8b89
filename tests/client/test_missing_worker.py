"""A job that nobody takes: the command line says so, and once more nothing when somebody does."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from isslim.client.cli import app
from isslim.settings.service import ServiceSettings
from isslim.store.liveness import locks_of
from tests.conftest import Trained
from tests.service.served import served


@pytest.mark.slow
def test_missing_worker_is_told_when_a_job_is_queued(tmp_path: Path, trained: Trained) -> None:
    with served(tmp_path, {}) as url:

        def ask(*more: str) -> tuple[int, str]:
            words = ["--vocabulary", str(trained.vocabulary), "--detach", "--url", url, *more]
            done = CliRunner().invoke(app, ["compress", str(trained.model), *words])
            return done.exit_code, done.stderr

        code, told = ask()
        assert code == 0
        assert "no worker lives: the job waits until one does (`isslim worker`" in told
        held = locks_of(ServiceSettings(home=tmp_path)).acquire("one")
        assert held is not None
        assert ask("--name", "other") == (0, "")
        held.close()


@pytest.mark.parametrize("free", [0, 2 << 30])
def test_full_disk_and_slow_int8_are_found(
    free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isslim.service import doctor

    monkeypatch.setattr(doctor, "LEAST_BYTES", 1 << 62 if free == 0 else 1)
    assert doctor._disk(tmp_path / "not" / "made").state == ("wrong" if free == 0 else "ok")
    (tmp_path / "cpuinfo").write_text("flags : fpu avx2 sse4_2\n")
    slow = doctor._instructions(tmp_path / "cpuinfo")
    assert (slow.state, slow.advice != "") == ("note", True)
    (tmp_path / "cpuinfo").write_text("flags : fpu avx2 avx512_vnni\n")
    assert doctor._instructions(tmp_path / "cpuinfo").detail == "avx512_vnni"
    assert doctor._instructions(tmp_path / "none").detail == "the system does not say"
