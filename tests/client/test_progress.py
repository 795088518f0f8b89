"""Progress is for people: on a terminal it is shown on stderr, and stdout stays the answer's."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import Trained
from tests.service.served import service_and_worker


@pytest.mark.slow
def test_progress_is_shown_on_a_terminal_and_the_answer_is_piped(
    trained: Trained, tmp_path: Path
) -> None:
    shown = bytearray()
    terminal, end = pty.openpty()

    def read() -> None:
        try:
            while piece := os.read(terminal, 4096):
                shown.extend(piece)
        except OSError:
            """Linux ends a terminal that nobody holds any more with an error."""

    with service_and_worker(tmp_path / "home") as url:
        words = [str(trained.model), "--vocabulary", str(trained.vocabulary)]
        options = ["--size-ratio", "0.5", "--minutes", "0"]
        asked = subprocess.Popen(
            [sys.executable, "-m", "isslim.client", "compress", *words, *options],
            env=os.environ | {"ISS_URL": url, "ISSLIM_OUTPUT": "json", "TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=end,
        )
        os.close(end)
        reader = threading.Thread(target=read)
        reader.start()
        answer, _ = asked.communicate(timeout=300)
        reader.join(timeout=10)
        os.close(terminal)
    told = shown.decode()
    assert asked.returncode == 0, told
    job = json.loads(answer)
    assert job["state"] == "succeeded"
    assert f"job {job['id']}" in " ".join(told.split())
    # What was understood is shown while the job runs, and not when it is over.
    assert told.index("what is understood") < told.rindex("100%")
    assert "LSTM layer 2: 32" in told
