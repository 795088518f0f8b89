"""Commands that judge graphs: what they print is read, and whatever fails is an answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from isslim.compress.errors import EvaluationFailed, EvaluationUnknown
from isslim.compress.processes.command_metrics import Evaluator
from isslim.settings.worker import Evaluation, WorkerSettings


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A file of 1000 bytes; what an evaluation makes of it is its own affair."""
    path = tmp_path / "some graph.onnx"
    path.write_bytes(bytes(1000))
    return path


def evaluator(tmp_path: Path, script: str, **limits: object) -> Evaluator:
    """An evaluation whose command is a Python script; the graph's path is its first argument."""
    file = tmp_path / "evaluate.py"
    file.write_text(script)
    command = [sys.executable, str(file), "{model}"]
    return Evaluator(
        "command:own", {"own": Evaluation.model_validate({"command": command, **limits})}
    )


def test_number_on_the_last_line_is_the_value_and_a_graph_is_evaluated_once(
    tmp_path: Path, graph: Path
) -> None:
    own = evaluator(
        tmp_path,
        f"import os, sys\nopen({str(tmp_path / 'calls')!r}, 'a').write('x')\nprint('bytes:')\n"
        "print(os.path.getsize(sys.argv[1]) / 8)\nprint()\n",
    )
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(graph.read_bytes())
    assert own.value(graph, "the original") == own.value(copy, "a copy") == 125.0
    assert (tmp_path / "calls").read_text() == "x"
    copy.write_bytes(bytes(80))
    assert own.value(copy, "another") == 10.0
    assert (tmp_path / "calls").read_text() == "xx"
    assert "evaluation `own`" in own.description
    assert "lower is better" in own.description
    assert "run 2 times" in own.description


@pytest.mark.parametrize(
    ("better", "value", "original", "loss"),
    [
        ("lower", 11.0, 10.0, 0.1),
        ("lower", 9.0, 10.0, -0.1),
        ("higher", 9.0, 10.0, 0.1),
        ("higher", -12.0, -10.0, 0.2),
        ("lower", -8.0, -10.0, 0.2),
    ],
)
def test_loss_is_how_much_worse_relative_to_the_original(
    better: str, value: float, original: float, loss: float, tmp_path: Path
) -> None:
    assert evaluator(tmp_path, "", better=better).loss(value, original) == pytest.approx(
        loss, rel=1e-12
    )


def test_nothing_is_told_relative_to_zero(tmp_path: Path) -> None:
    with pytest.raises(EvaluationFailed, match="gives 0 for the original"):
        evaluator(tmp_path, "").loss(0.0, 0.0)


@pytest.mark.parametrize(
    ("script", "words", "written"),
    [
        ("import sys; sys.exit(3)", "ended with status 3", []),
        (
            "raise ValueError('no data at all')",
            "ended with status 1",
            ["ValueError: no data at all"],
        ),
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL", []),
        ("x = bytearray(300 << 20)", "ended with status 1", ["MemoryError"]),
        ("print(12); print('done')", "printed 'done' as its last line", []),
        ("print('wer: 12')", "printed 'wer: 12' as its last line", []),
        ("print(float('nan'))", "printed 'nan' as its last line", []),
        ("print()", "printed nothing", []),
        ("print('x' * 100_000)", "printed 'xxx", []),
    ],
)
def test_command_without_a_number_is_an_answer(
    script: str, words: str, written: list[str], tmp_path: Path, graph: Path
) -> None:
    with pytest.raises(EvaluationFailed) as failed:
        evaluator(tmp_path, script, memory_mb=200).value(graph, "a compressed graph")
    assert "the evaluation 'own' of a compressed graph" in failed.value.detail
    assert words in failed.value.detail
    assert len(failed.value.detail) < 400
    assert all(each in " ".join(failed.value.issues) for each in written)
    assert len(failed.value.issues) == len(written)


def test_program_that_is_not_there_is_an_answer(graph: Path) -> None:
    gone = Evaluator("command:own", {"own": Evaluation(command=["/nowhere/judge", "{model}"])})
    with pytest.raises(EvaluationFailed, match="ended with status 127") as failed:
        gone.value(graph, "the original")
    assert failed.value.issues == [
        "the last line that it wrote: /nowhere/judge: No such file or directory"
    ]


@pytest.mark.slow
def test_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path, graph: Path) -> None:
    own = evaluator(
        tmp_path,
        "import subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'started')!r}, 'w').write(str(other.pid))\n"
        "time.sleep(600)\n",
        seconds=5,
    )
    began = time.monotonic()
    with pytest.raises(EvaluationFailed, match="took more than the 5 s that it has"):
        own.value(graph, "the original")
    assert time.monotonic() - began < 30
    assert _gone(int((tmp_path / "started").read_text()))


def test_what_a_command_leaves_running_ends_with_it(tmp_path: Path, graph: Path) -> None:
    own = evaluator(
        tmp_path,
        "import subprocess, sys\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(other.pid)\n",
    )
    assert _gone(int(own.value(graph, "the original")))


def test_command_ends_when_the_job_is_killed(tmp_path: Path, graph: Path) -> None:
    told = tmp_path / "started"
    script = tmp_path / "slow.py"
    script.write_text(
        f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    job = (
        "from pathlib import Path; from isslim.settings.worker import Evaluation; "
        "from isslim.compress.processes.command_metrics import Evaluator; "
        f"command = [{sys.executable!r}, {str(script)!r}, '{{model}}']; "
        "Evaluator('command:own', {'own': Evaluation(command=command)})"
        f".value(Path({str(graph)!r}), 'the original')"
    )
    process = subprocess.Popen([sys.executable, "-c", job])
    while not (told.exists() and told.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert _gone(int(told.read_text()))


def test_evaluation_that_nobody_configured_is_refused_by_name() -> None:
    with pytest.raises(EvaluationUnknown, match="no evaluation 'wer': it knows none"):
        Evaluator("command:wer", {})
    known = {name: Evaluation(command=["judge", "{model}"]) for name in ("speed", "accuracy")}
    with pytest.raises(EvaluationUnknown, match="it knows accuracy, speed"):
        Evaluator("command:wer", known)


def test_settings_are_read_from_the_environment_and_checked_when_the_worker_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = (
        '{"wer": {"command": ["judge", "--graph={model}"], '
        '"better": "higher", "seconds": 5, "memory_mb": 100}}'
    )
    monkeypatch.setenv("ISS_EVALUATIONS", asked)
    (found,) = WorkerSettings().evaluations.values()
    assert (found.command, found.better, found.seconds, found.memory_mb) == (
        ["judge", "--graph={model}"], "higher", 5.0, 100,
    )  # fmt: skip
    for wrong in (
        '{"wer": {"command": []}}',
        '{"wer": {"command": ["judge"]}}',
        '{"wer": {"command": ["judge", "{model}"], "better": "bigger"}}',
        '{"wer": {"command": ["judge", "{model}"], "shell": true}}',
        '{"../wer": {"command": ["judge", "{model}"]}}',
    ):
        monkeypatch.setenv("ISS_EVALUATIONS", wrong)
        with pytest.raises(ValidationError):
            WorkerSettings()


def _gone(process: int) -> bool:
    """Whether a process ends within some seconds; a zombie has ended."""
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{process}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False
