"""`isslim doctor` finds what is wrong on a machine, and says what to do."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from isslim.store.errors import Unavailable
from isslim.store.probe import database_state, storage_state
from isslim.store.settings import StoreSettings
from isslim.types.findings import FINDINGS, Finding
from tests.conftest import Published
from tests.service.served import free_port, service_and_worker


def examined(*arguments: str, **environment: str) -> tuple[int, dict[str, Finding]]:
    """Exit code and findings of the command as a process."""
    done = subprocess.run(
        [sys.executable, "-m", "isslim.client", "doctor", "--json", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, {each.subject: each for each in FINDINGS.validate_json(done.stdout)}


@pytest.mark.slow
def test_machine_on_which_everything_works(published: Published, tmp_path: Path) -> None:
    shutil.copytree(published.settings.home, tmp_path / "home")
    with service_and_worker(tmp_path / "home") as url:
        code, found = examined("--home", str(tmp_path / "home"), "--url", url)
    assert [each for each in found.values() if each.state == "wrong"] == []
    assert code == 0
    assert found["service"].detail.startswith(url)
    assert found["worker"].detail == "1 lives"
    assert "GiB free" in found["disk"].detail
    assert found["int8 instructions"].state in ("ok", "note")
    assert found["storage"].detail.endswith("1 models")
    assert "cpu" in found["devices that serve"].detail
    assert "PyTorch" in found["device that compresses"].detail


@pytest.mark.slow
def test_machine_without_service_and_worker_and_with_a_misspelt_setting(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    (tmp_path / "home").mkdir()
    code, found = examined("--home", str(tmp_path / "home"), "--url", nowhere)
    assert code == 1
    assert found["service"].state == "wrong"
    assert "isslim serve" in found["service"].advice
    assert (found["worker"].state, found["worker"].detail) == ("wrong", "none lives")
    assert "isslim worker" in found["worker"].advice
    assert list((tmp_path / "home").iterdir()) == []  # it only looks
    # The second is a variable of the worker's alone.
    code, found = examined("--url", nowhere, ISS_HOEM="elsewhere", ISS_STAGE_SECONDS="-1")
    assert code == 1
    assert found["settings"].detail.count("did you mean ISS_HOME?") == 1
    assert "ISS_STAGE_SECONDS is '-1': expected greater than 0" in found["settings"].detail


def test_damaged_database_and_storage_that_may_not_be_written_are_told(tmp_path: Path) -> None:
    settings = StoreSettings(home=tmp_path)
    assert "not made yet" in database_state(settings)
    assert "not made yet" in storage_state(settings)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "jobs.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(Unavailable) as caught:
        database_state(settings)
    assert "jobs.sqlite: file is not a database" in caught.value.reason
    (tmp_path / "jobs.sqlite").unlink()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as database:
        database.execute("create table one (number integer)")
    assert database_state(settings).endswith("1 tables")
    away = StoreSettings(
        home=tmp_path, database_url=f"postgresql://me:secret@127.0.0.1:{free_port()}/jobs"
    )
    with pytest.raises(Unavailable) as refused:
        database_state(away)
    assert "refused" in refused.value.reason
    assert "secret" not in refused.value.reason
    (tmp_path / "artifacts").write_text("a file")
    with pytest.raises((Unavailable, OSError)):
        storage_state(settings)


@pytest.mark.slow
def test_answer_is_one_line_for_each_finding_for_people(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    done = subprocess.run(
        [sys.executable, "-m", "isslim.client", "doctor", "--url", nowhere],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line[:5] not in ("ok   ", "note ", "WRONG")] == []
    assert any(line.startswith("WRONG service: ") and "; to do: " in line for line in lines)
    assert list(tmp_path.iterdir()) == []
