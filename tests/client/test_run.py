"""A graph is uploaded by the client, compressed by a real worker and run by a real service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from isslim.client.api import Client, ProblemError
from isslim.client.cli import app
from isslim.runtime.graphs.recorded_inputs import GraphSession, write_runs
from isslim.types.arrays import dump_npz, read_npz
from isslim.types.recipe import Budget, Recipe
from tests.service.served import service_and_worker
from tests.tagger import PublishedGraph, publish, recorded

IDS = np.array([[3, 17], [5, 0], [39, 2]])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PublishedGraph:
    return publish(
        tmp_path_factory.mktemp("run"), Recipe(name="tagger", budget=Budget(output_change=0.2))
    )


@pytest.fixture(scope="module")
def url(made: PublishedGraph) -> Iterator[str]:
    with service_and_worker(made.settings.home) as address:
        yield address


def test_client_runs_variants_and_gets_arrays(url: str, made: PublishedGraph) -> None:
    with Client(url) as client:
        found = client.run("tagger", {"ids": IDS}, ["original", "compressed"], outputs=["scores"])
        assert list(found) == ["original", "compressed"]
        assert np.array_equal(
            found["original"].outputs["scores"],
            GraphSession(made.upload).run({"ids": IDS})["scores"],
        )
        assert found["compressed"].outputs["scores"].dtype == np.float32
        assert all(each.run_ms > 0 for each in found.values())
        with pytest.raises(ProblemError, match="input 'ids' is missing") as refused:
            client.run(
                "tagger", {"file": IDS}
            )  # a name that numpy's own writer takes for its parameter
        assert refused.value.status == 422
        assert [each["detail"] for each in refused.value.errors] == [
            "input 'ids' is missing",
            "there is no input 'file'",
        ]
        with pytest.raises(ProblemError, match="POST /models"):
            client.score("tagger", ["a cat"])


@pytest.mark.slow
def test_command_line_compresses_a_graph_and_runs_it_side_by_side(
    url: str, made: PublishedGraph, tmp_path: Path
) -> None:
    write_runs(tmp_path / "recorded.npz", recorded(20))
    (tmp_path / "inputs.npz").write_bytes(dump_npz({"ids": IDS}))
    runner = CliRunner(env={"ISS_URL": url, "COLUMNS": "160"})
    asked = [
        "compress",
        str(made.upload),
        "--name",
        "decided",
        "--calibration",
        str(tmp_path / "recorded.npz"),
        "--minutes",
        "0",
    ]
    done = runner.invoke(app, [*asked, "--output-change", "0.1", "--metric", "argmax"])
    assert done.exit_code == 0, done.output
    assert "same decision" in done.output
    assert "recorded run (ids: " in " ".join(done.output.split())
    both = ["--variant", "original", "--variant", "compressed"]
    done = runner.invoke(
        app,
        ["run", "decided", str(tmp_path / "inputs.npz"), *both, "--out", str(tmp_path / "o.npz")],
    )
    assert done.exit_code == 0, done.output
    for part in ("original", "compressed", "scores", "float32 [3, 2, 5]", "% changed", "run time"):
        assert part in done.output
    assert list(read_npz((tmp_path / "o.npz").read_bytes())) == [
        "original/scores",
        "compressed/scores",
    ]
    elsewhere = runner.invoke(
        app, ["run", "decided", str(tmp_path / "inputs.npz"), "--device", "tpu"]
    )
    assert "'tpu'" in elsewhere.stderr
    (tmp_path / "broken.npz").write_bytes(b"PK")
    assert "no npz" in runner.invoke(app, ["run", "decided", str(tmp_path / "broken.npz")]).output
    with Client(url) as client:
        assert client.manifest("decided").recipe.metric == "argmax"


@pytest.mark.slow
def test_budgets_of_other_tasks_and_metrics_that_are_none_are_refused(
    url: str, made: PublishedGraph, tmp_path: Path
) -> None:
    runner = CliRunner(env={"ISS_URL": url, "COLUMNS": "160"})
    for option in ("--perplexity-rise", "--f1-fall"):
        done = runner.invoke(app, ["compress", str(made.upload), option, "0.5"])
        assert done.exit_code == 1
        assert "does not apply to a graph" in done.output
        assert "output_change" in done.output
    two = runner.invoke(
        app, ["compress", str(made.upload), "--output-change", "0.1", "--size-ratio", "0.5"]
    )
    assert "name one budget" in two.output
    assert runner.invoke(app, ["compress", str(made.upload), "--metric", "beauty"]).exit_code == 2
    none = runner.invoke(app, ["sweep", str(made.upload)])
    for option in (
        "--perplexity-rise",
        "--f1-fall",
        "--output-change",
        "--size-ratio",
        "--speedup",
    ):
        assert option in none.output


@pytest.mark.slow
def test_sweep_of_a_graph_shows_the_front(url: str, made: PublishedGraph) -> None:
    runner = CliRunner(env={"ISS_URL": url, "COLUMNS": "160"})
    done = runner.invoke(
        app,
        [
            "sweep",
            str(made.upload),
            "--name",
            "swept",
            "--output-change",
            "0.1",
            "--output-change",
            "0.3",
            "--minutes",
            "0",
        ],
    )
    assert done.exit_code == 0, done.output
    assert "swept: what no other model" in done.output
