"""Settings as processes read them: real service and worker processes, and real environments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isslim.settings.environment import GROUPS, SettingsRefused, read, variable_of
from isslim.settings.page import page
from isslim.settings.service import ServiceSettings
from isslim.settings.worker import WorkerSettings

ROOT = Path(__file__).parents[2]
PROCESSES = {"isslim service": "isslim.service", "isslim worker": "isslim.compress.worker"}


def refused_by(module: str, home: Path, **variables: str) -> list[str]:
    """What a process writes that is started with variables that it refuses."""
    ended = subprocess.run(
        [sys.executable, "-m", module],
        env=os.environ | {"ISS_HOME": str(home)} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    assert list(home.iterdir()) == [], "it began its work"
    return ended.stderr.splitlines()


@pytest.mark.parametrize("program", PROCESSES)
def test_misspelt_variables_end_a_process_with_the_nearest_known_ones(
    program: str, tmp_path: Path
) -> None:
    # The last is a variable of the other process's, misspelt.
    variables = {"ISS_PROT": "1", "iss_log_levle": "INFO", "ISS_EXECUTORID": "w", "ISS_XYZZY": ""}
    assert refused_by(PROCESSES[program], tmp_path, **variables) == [
        f"{program}: ISS_EXECUTORID is no setting: did you mean ISS_EXECUTOR_ID?",
        f"{program}: ISS_PROT is no setting: did you mean ISS_PORT?",
        f"{program}: ISS_XYZZY is no setting: `python -m isslim.settings` lists them all",
        f"{program}: iss_log_levle is no setting: did you mean ISS_LOG_LEVEL?",
    ]


def test_bad_value_ends_the_service_with_a_line(tmp_path: Path) -> None:
    variables = {"ISS_PORT": "eighty", "ISS_WAITING_LIMIT": "-1", "ISS_LOG_LEVEL": "LOUD"}
    assert refused_by("isslim.service", tmp_path, **variables) == [
        "isslim service: ISS_PORT is 'eighty': expected a valid integer",
        "isslim service: ISS_WAITING_LIMIT is '-1': expected greater than or equal to 0",
        "isslim service: ISS_LOG_LEVEL is 'LOUD': expected 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("ISS_HOME", "a-file", "a-file is a file: expected a folder"),
        ("ISS_HOME", "a-file/home", "a-file is a file: expected a folder"),
        ("ISS_DATABASE_URL", "foo://x", "expected a URL that begins with sqlite: or postgresql:"),
        ("ISS_ARTIFACTS_URL", "foo://x", "expected a URL such as s3://bucket/prefix, of one of s3"),
        ("ISS_ARTIFACTS_URL", "/a/folder", "expected a URL such as s3://bucket/prefix"),
        ("ISS_ARTIFACTS_URL", "s3://", "expected a URL such as s3://bucket/prefix"),
    ],
)
def test_place_that_cannot_be_used_ends_the_service_with_a_line(
    variable: str, value: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "a-file").write_text("")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "isslim.service"],
        cwd=tmp_path,
        env={**os.environ, "ISS_HOME": str(tmp_path / "home"), variable: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert expected in done.stderr
    assert variable in done.stderr


def test_bad_value_ends_the_worker_with_a_line(tmp_path: Path) -> None:
    wrong = '{"wer": {"command": ["judge"], "better": "bigger"}}'
    assert refused_by("isslim.compress.worker", tmp_path, ISS_EVALUATIONS=wrong) == [
        f"isslim worker: ISS_EVALUATIONS is '{wrong}': wer.command: "
        "no part of the command holds {model}, where the graph's path belongs",
        f"isslim worker: ISS_EVALUATIONS is '{wrong}': wer.better: expected 'lower' or 'higher'",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("ISS_KEEP_UPLOADS_HOURS", "inf", "expected less than or equal to 876000"),
        ("ISS_KEEP_JOBS_DAYS", "1e308", "expected less than or equal to 36500"),
        ("ISS_SCORE_SECONDS", "nan", "expected less than or equal to 3153600000"),
        ("ISS_SCORE_SECONDS", "1e12", "expected less than or equal to 3153600000"),
        ("ISS_DATABASE_WAIT_SECONDS", "1e9", "expected less than or equal to 2000000"),
        ("ISS_THREADS", "1000000000", "expected less than or equal to 1024"),
        ("ISS_CACHE_BYTES", "9" * 40, "expected less than or equal to 1152921504606846976"),
        ("ISS_JOB_MEMORY_BYTES", "9" * 40, "expected less than or equal to 1152921504606846976"),
        ("ISS_TRUSTED_PROXIES", "10.0.0.1, 10.0.0.1/33", "'10.0.0.1/33' is none"),
        ("ISS_TRUSTED_PROXIES", "proxy", "'proxy' is none"),
        ("ISS_ALLOWED_HOSTS", "one.example,https://two.example", "'https://two.example' is none"),
        ("ISS_ALLOWED_HOSTS", "one.example:8000", "'one.example:8000' is none"),
        ("ISS_ALLOWED_HOSTS", "*.one.example", "'*.one.example' is none"),
        ("ISS_HOME", "x" * 5000, "expected a folder, or a path to make one at (File name too long"),
    ],
)
def test_value_that_would_fail_later_or_mean_nothing_is_refused(
    variable: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = variable.removeprefix("ISS_").lower()
    settings = ServiceSettings if field in ServiceSettings.model_fields else WorkerSettings
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsRefused) as refused:
        read(settings)
    (issue,) = refused.value.issues
    assert issue.startswith(f"{variable} is ")
    assert expected in issue
    assert len(issue) < 300


def test_every_number_has_a_largest_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in (ServiceSettings, WorkerSettings):
        for field, info in settings.model_fields.items():
            if not isinstance(info.get_default(call_default_factory=True), int | float):
                continue
            if isinstance(info.get_default(call_default_factory=True), bool):
                continue
            for value in ("inf", "1e300", "9" * 30):
                monkeypatch.setenv(variable_of(field), value)
                with pytest.raises(SettingsRefused, match=variable_of(field)):
                    read(settings)
            monkeypatch.delenv(variable_of(field))


def test_addresses_and_names_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISS_TRUSTED_PROXIES", "10.0.0.0/8, ::1,*")
    monkeypatch.setenv("ISS_ALLOWED_HOSTS", "one.example, my_service,::1,*")
    assert read(ServiceSettings).hosts == {"one.example", "my_service", "::1", "*"}


def test_value_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISS_CHILD_COMMAND", "python child.py" + "!" * 100)
    with pytest.raises(SettingsRefused) as refused:
        read(WorkerSettings)
    assert refused.value.issues == [
        "ISS_CHILD_COMMAND is '" + ("python child.py" + "!" * 100)[:80] + "...': "
        "expected JSON (Expecting value: line 1 column 1 (char 0))"
    ]
    monkeypatch.setenv("ISS_CHILD_COMMAND", '["python", "child.py"]')
    assert read(WorkerSettings).child_command == ["python", "child.py"]


def test_every_process_takes_the_variables_of_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("ISS_")]:
        monkeypatch.delenv(name)
    values = {
        "ISS_HOME": "elsewhere", "ISS_PORT": "9", "ISS_EXECUTOR_ID": "w", "ISS_DATA": "corpora",
        "ISS_URL": "http://somewhere", "ISS_COMPARISON_SECONDS": "0.5", "ISS_THREADS": "3",
        "ISS_EVALUATIONS": "{}", "ISS_UPLOAD_LIMIT_BYTES": "10",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    service, worker = read(ServiceSettings), read(WorkerSettings)
    assert (service.port, service.threads, worker.executor_id) == (9, 3, "w")
    for settings in (service, worker):
        assert settings.home == Path("elsewhere")
        assert settings.upload_limit_bytes == 10
        assert settings.comparison_seconds == 0.5


def test_committed_page_is_what_the_command_prints() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "isslim.settings"], capture_output=True, text=True, check=True
    ).stdout
    assert (ROOT / "docs" / "configuration.md").read_text() == printed


def test_page_describes_every_variable_once() -> None:
    rows = [line.split("|") for line in page().splitlines() if line.startswith("| `ISS_")]
    fields = {field: info for group in GROUPS for field, info in group.model_fields.items()}
    assert sorted(row[1].strip() for row in rows) == sorted(f"`{variable_of(f)}`" for f in fields)
    for row in rows:
        assert all(cell.strip() for cell in row[1:5]), row


def test_page_names_units_and_defaults() -> None:
    text = page()
    assert "| `ISS_UPLOAD_LIMIT_BYTES` | `2147483648` (2 GiB) | bytes | largest single" in text
    assert "| `ISS_DATABASE_WAIT_SECONDS` | `30` | seconds |" in text
    assert "| `ISS_RUNS_AT_ONCE` | the number of processors | count |" in text
    assert "| `ISS_DATABASE_URL` | none | URL |" in text
    assert sys.executable not in text
