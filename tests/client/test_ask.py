"""Questions from the client and the command line to a real service process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isslim.client.api import Client, ProblemError
from isslim.client.cli import app
from isslim.demo.ports import free_port
from tests.reader import publish

CONTEXT = "The cat sat on a mat.\nIt purred; a dog slept under [bold]the tree[/]."


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home, port = tmp_path_factory.mktemp("asked"), free_port()
    publish(home)
    environment = os.environ | {
        "ISS_HOME": str(home),
        "ISS_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen([sys.executable, "-m", "isslim.service"], env=environment)
    address = f"http://127.0.0.1:{port}"
    with Client(address) as client:
        limit = time.monotonic() + 60
        while not client.ready() and time.monotonic() < limit:
            time.sleep(0.1)
    yield address
    process.terminate()
    process.wait(timeout=20)


def test_client_asks_one_question_and_several(url: str) -> None:
    with Client(url) as client:
        one = client.answer(
            "reader", "Who sat?", CONTEXT, ["compressed"], top_k=2, max_answer_tokens=3
        )
        (variant,) = one.variants
        (best,) = variant.answers
        assert len(best.top_k) == 2
        assert best.answer == CONTEXT[best.start : best.end]
        pairs = [
            {"question": "Who sat?", "context": CONTEXT},
            {"question": "Who slept?", "context": "a dog"},
        ]
        two = client.answer_all("reader", pairs, ["compressed"], top_k=2, max_answer_tokens=3)
        assert len(two.variants[0].answers) == 2
        assert two.variants[0].answers[0] == best
        with pytest.raises(ProblemError, match="holds no token") as refused:
            client.answer("reader", " ", CONTEXT)
        assert refused.value.status == 422
        with pytest.raises(ProblemError, match="POST /qa"):
            client.score("reader", ["a cat"])


def test_command_line_shows_both_answers_side_by_side(url: str, tmp_path: Path) -> None:
    (tmp_path / "context.txt").write_text(CONTEXT)
    runner = CliRunner(env={"ISS_URL": url, "COLUMNS": "160"})
    asked = ["ask", "reader", "Who [sat]?", "--top-k", "3", "--max-answer-tokens", "4"]
    done = runner.invoke(app, [*asked, "--context-file", str(tmp_path / "context.txt")])
    assert done.exit_code == 0, done.output
    for part in ("Who [sat]?", "original", "compressed", "characters", "run time"):
        assert part in done.output
    with Client(url) as client:
        found = client.answer("reader", "Who [sat]?", CONTEXT, top_k=3, max_answer_tokens=4)
    for variant in found.variants:
        for span in variant.answers[0].top_k:
            assert span.answer.replace("\n", " ") in done.output
    piped = runner.invoke(app, [*asked, "--variant", "compressed"], input=CONTEXT)
    assert piped.exit_code == 0, piped.output
    assert "original" not in piped.output
    assert "'tpu'" in runner.invoke(app, [*asked, "--device", "tpu"], input=CONTEXT).stderr
