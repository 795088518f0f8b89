"""The client and the command line against a real service process and a real worker."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from isslim.client.api import Client, Companions, ProblemError, Unreachable
from isslim.client.cli import app
from isslim.client.commands.companions import OPTIONS
from isslim.client.show_inspection import shown
from isslim.demo.ports import free_port
from isslim.types.jobs import CompressionRequest, Job, JobState
from isslim.types.recipe import Budget, Recipe
from tests.conftest import Published, Trained
from tests.service.served import service_and_worker
from tests.service.test_hostile import served


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service_and_worker(tmp_path_factory.mktemp("served")) as address:
        yield address


def test_upload_to_score_through_real_processes(url: str, trained: Trained) -> None:
    with Client(url) as client:
        job = client.compress(
            trained.model,
            vocabulary=trained.vocabulary,
            calibration=trained.calibration,
            held_out=trained.held_out,
            recipe=Recipe(name="served", budget=Budget(perplexity_rise=0.1), minutes=0),
        )
        seen: list[Job] = []
        job = client.wait(job.id, seen.append)
        assert job.state is JobState.SUCCEEDED, job.problem
        assert job.model_id is not None
        assert job.inspection is not None
        assert job.inspection.understood
        running = [each for each in seen if not each.state.ended]
        assert any(each.points for each in running)  # the curve grows while the job runs
        published = client.report("served").curve
        assert {point.mult_adds for point in published} <= {point.mult_adds for point in job.points}
        assert all(point.estimate is not None for point in job.points)
        answer = client.score("served", [trained.held_out.read_text()], ["original", "compressed"])
        first, second = (variant.perplexity or 0.0 for variant in answer.variants)
        assert abs(second / first - 1) < 0.12
        assert client.manifest("served").name == "served"
        assert "\n---\n\n# served\n" in client.card("served")
        assert client.latency("served", steps=2).results["compressed"]
        with pytest.raises(ProblemError, match="no model 'nope'"):
            client.score("nope", ["x"])


@pytest.mark.slow
def test_bad_upload_ends_as_an_answer(url: str, trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("one\ntwo\n")
    (tmp_path / "model.pt").write_bytes(b"not a model")
    with Client(url) as client:
        few = client.wait(client.compress(trained.model, vocabulary=tmp_path / "words.txt").id)
        assert few.state is JobState.FAILED
        assert few.problem is not None
        assert few.problem.kind == "vocabulary-mismatch"
        broken = client.wait(client.compress(tmp_path / "model.pt").id)
        assert broken.problem is not None
        assert broken.problem.kind == "unreadable-upload"
        tight = Recipe(name="tight", budget=Budget(size_ratio=1e-6), minutes=0)
        unmet = client.wait(
            client.compress(trained.model, vocabulary=trained.vocabulary, recipe=tight).id
        )
        assert unmet.state is JobState.BUDGET_NOT_MET
        assert unmet.curve


@pytest.mark.slow
def test_upload_is_inspected_before_a_job_is_begun(
    url: str, trained: Trained, tmp_path: Path
) -> None:
    runner = CliRunner(env={"ISS_URL": url, "COLUMNS": "140"})
    with Client(url) as client:
        found = client.inspect(
            trained.model, vocabulary=trained.vocabulary, held_out=trained.held_out
        )
        assert found.understood
        assert [layer.size for layer in found.layers] == [24, 40, 32]
    table = Console(width=140, record=True)
    table.print(shown(found, "model.pt"))
    told = table.export_text()
    assert "LSTM layer 2: 32" in told
    assert "embedding / LSTM / linear" in told
    options = ["--vocabulary", str(trained.vocabulary)]
    (tmp_path / "other.pt").write_bytes(b"no model")
    both = runner.invoke(
        app, ["inspect", str(trained.model), str(tmp_path / "other.pt"), *options, "--json"]
    )
    assert both.exit_code == 1
    first, second = json.loads(both.output)
    assert first["parameters"] == found.parameters
    assert second["problem"]["kind"] == "unreadable-upload"


@pytest.mark.slow
def test_command_line(url: str, trained: Trained) -> None:
    runner = CliRunner(env={"ISS_URL": url, "COLUMNS": "140"})
    options = ["--name", "typed", "--size-ratio", "0.5", "--vocabulary", str(trained.vocabulary)]
    options += ["--minutes", "0"]
    done = runner.invoke(app, ["compress", str(trained.model), *options])
    assert done.exit_code == 0, done.output
    assert "compressed" in done.output
    assert done.output.index("LSTM layer 1: 40") < done.output.index(
        "the original and what became of it"
    )
    assert "typed" in runner.invoke(app, ["models"]).output
    assert "succeeded" in runner.invoke(app, ["jobs"]).output
    assert "the cat" in runner.invoke(app, ["score", "typed", "the cat likes nothing"]).output
    assert (
        "[/list] the cat" in runner.invoke(app, ["score", "typed", "[/list] the cat"]).output
    )  # no markup of ours
    assert "The proof" in runner.invoke(app, ["models", "card", "typed"]).output
    two = runner.invoke(
        app, ["compress", str(trained.model), "--size-ratio", "0.5", "--speedup", "2"]
    )
    assert two.exit_code == 2
    assert "no model 'nope'" in runner.invoke(app, ["score", "nope", "x"]).stderr
    assert "'tpu'" in runner.invoke(app, ["score", "typed", "the cat", "--device", "tpu"]).stderr


@pytest.mark.slow
def test_sweep_from_the_command_line_ends_with_its_front(url: str, trained: Trained) -> None:
    runner = CliRunner(env={"ISS_URL": url, "COLUMNS": "140"})
    files = ["--vocabulary", str(trained.vocabulary), "--held-out", str(trained.held_out)]
    budgets = ["--size-ratio", "0.6", "--size-ratio", "0.4"]
    done = runner.invoke(
        app, ["sweep", str(trained.model), "--name", "swept", "--minutes", "0", *budgets, *files]
    )
    assert done.exit_code == 0, done.output
    assert "swept-1" in done.output
    assert "swept-2" in done.output
    with Client(url) as client:
        recipe, by_size = (
            Recipe(name="swept", minutes=0),
            [{"budget": {"size_ratio": ratio}} for ratio in (0.6, 0.4)],
        )
        options = {"vocabulary": trained.vocabulary, "held_out": trained.held_out}
        sweep = client.sweep(trained.model, by_size, recipe=recipe, **options)
        assert sweep.state is JobState.SUCCEEDED  # the same requests are the same sweep
        published = {point.model_id for point in sweep.front} - {None}
        assert published <= {job.model_id for job in sweep.jobs}
        assert published
        rises = [point.loss for point in sweep.front]
        assert rises == sorted(rises, reverse=True)
        with pytest.raises(ProblemError, match="1 to 32 make a sweep"):
            client.sweep(trained.model, [], recipe=recipe)
        with pytest.raises(ProblemError, match="variations/0") as refused:
            client.sweep(trained.model, [{"budget": {"perplexity_rise": -1}}], recipe=recipe)
        assert refused.value.kind == "invalid-request"


def test_data_file_beside_a_graph_goes_with_it(url: str, tmp_path: Path) -> None:
    weights = onnx.numpy_helper.from_array(np.zeros((3, 2), np.float32), "w")
    ports = [
        onnx.helper.make_tensor_value_info(name, 1, ["N", size])
        for name, size in (("x", 3), ("y", 2))
    ]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ports[:1], ports[1:], [weights]
    )
    onnx.save(
        onnx.helper.make_model(graph),
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="d",
        size_threshold=0,
    )
    with Client(url) as client:
        job = client.wait(client.compress(tmp_path / "m.onnx").id)
    assert job.request.model_data is not None
    assert job.request.model_data.filename == "d"
    assert job.problem is not None
    assert (
        "no LSTM, GRU, RNN node" in job.problem.detail
    )  # the file is whole; there is nothing to make smaller


def test_files_that_may_come_with_a_model_are_the_same_everywhere() -> None:
    optional = set(CompressionRequest.model_fields) - {"model", "recipe"}
    assert set(Companions.__annotations__) == optional
    assert set(OPTIONS) == optional
    for command in ("inspect", "compress", "sweep"):
        told = CliRunner(env={"COLUMNS": "140"}).invoke(app, [command, "--help"]).output
        assert all(f"--{name.replace('_', '-')} " in told for name in optional)


def test_address_that_cannot_be_had_is_said_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = CliRunner().invoke(app, ["serve", "--port", str(taken.getsockname()[1])])
    assert done.exit_code == 1
    assert "take another --host or --port" in done.output
    assert CliRunner().invoke(app, ["serve", "--port", "70000"]).exit_code == 2
    nowhere = CliRunner().invoke(app, ["serve", "--host", "no.such.host.invalid"])
    assert nowhere.exit_code == 1
    assert "cannot listen on no.such.host.invalid:8000" in nowhere.output


def test_a_worker_works_in_the_home_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = []
    monkeypatch.setattr(
        "os.execve", lambda file, arguments, environment: homes.append(environment["ISS_HOME"])
    )
    monkeypatch.delenv("ISS_HOME", raising=False)
    CliRunner().invoke(app, ["worker"])
    monkeypatch.setenv("ISS_HOME", str(tmp_path))
    CliRunner().invoke(app, ["worker"])
    CliRunner().invoke(app, ["worker", "--home", "elsewhere"])
    assert homes == ["data", str(tmp_path), "elsewhere"]


def test_no_service_is_said_in_words() -> None:
    with (
        Client(f"http://127.0.0.1:{free_port()}") as client,
        pytest.raises(Unreachable, match="is it running"),
    ):
        client.jobs()


def test_name_with_a_question_mark_means_no_other_model(
    published: Published, tmp_path: Path
) -> None:
    shutil.copytree(published.settings.home, tmp_path / "home")
    with served(tmp_path / "home", {}) as address, Client(address) as client:
        for name in ("tiny?x", "tiny#x", "../models/tiny", "tiny/files/README.md", "tiny/"):
            for ask in (client.delete, client.manifest, client.card):
                with pytest.raises(ProblemError) as refused:
                    ask(name)
                assert refused.value.status == 404
        assert client.manifest("tiny").name == "tiny"
        client.delete("tiny")
        assert client.models() == []


class OtherSite(BaseHTTPRequestHandler):
    """Answers everything, and is no service of ours."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path != "/jobs/x" else 502)
        self.end_headers()
        self.wfile.write(b"<html>" if self.path != "/jobs/x" else b"[1]")

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def other_site() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), OtherSite) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("url", ["http://[", "http://127.0.0.1:1/[/list]", "http://%00"])
def test_address_of_nothing_is_said_in_words_without_markup(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "isslim.client", "jobs", "--url", url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert url in done.stderr
    assert done.stdout == ""


def test_site_that_is_no_service_is_said_in_words(other_site: str) -> None:
    with Client(other_site) as client:
        with pytest.raises(Unreachable, match="no isslim service"):
            client.jobs()
        with pytest.raises(ProblemError) as refused:
            client.job("x")
        assert refused.value.status == 502
