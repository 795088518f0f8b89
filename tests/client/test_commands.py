"""What every command promises to scripts, against a real service with models, a job and a sweep.

The table has a row for each command of the program, so that a new command without one fails.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import typer.main
from typer.testing import CliRunner, Result

from isslim.client.api import Client
from isslim.client.cli import app
from isslim.client.commands import exits
from isslim.store.backup import back_up
from isslim.store.settings import StoreSettings
from isslim.types.arrays import dump_npz
from isslim.types.jobs import JobState
from isslim.types.recipe import Recipe
from isslim.types.schemas.aliases import AliasRequest
from tests import reader, tagger
from tests.conftest import Published, Trained
from tests.hub_stub import hub_stub
from tests.service.served import free_port, service_and_worker


@dataclass(frozen=True)
class Row:
    """How a command is called; words in braces are replaced by what is served.

    Attributes:
        succeeds: arguments that end well.
        fails: arguments that are refused, and the exit code; None where nothing can be refused.
        path: of the API, whose JSON the answer is.
        whole: ids and names that the text holds whole, however narrow the terminal.
        once: it cannot succeed twice.
        stdin: standard input.
    """

    succeeds: str
    fails: tuple[str, int] | None = None
    path: str | None = None
    whole: list[str] = field(default_factory=list)
    once: bool = False
    stdin: str | None = None


NAMES = ["original", "compressed"]
UPLOAD = "{upload} --vocabulary {words} --size-ratio 0.5 --minutes 0"
ROWS = {
    "inspect": Row("{upload} --vocabulary {words}", ("{broken}", exits.REFUSED)),
    "compress": Row(
        f"{UPLOAD} --name typed-1",
        (
            "{upload} --vocabulary {words} --size-ratio 0.000001 --minutes 0 --name tight",
            exits.BUDGET_NOT_MET,
        ),
        "/jobs/{job}",
        ["{model}", *NAMES],
    ),
    "sweep": Row(
        f"{UPLOAD} --name typed",
        ("{broken} --loss 2%", exits.REFUSED),
        "/sweeps/{sweep}",
        ["{model}"],
    ),
    "score": Row("typed-1 --file {lines} --lines", ("tiny a --device tpu", 1), None, NAMES),
    "generate": Row(
        "typed-1 'the cat' --max-tokens 5 --seed 1",
        ("tiny 'the cat' --device tpu", 1),
        None,
        NAMES,
    ),
    "ask": Row("reader 'Who sat?'", ("reader ' '", 1), None, NAMES, stdin="The cat sat."),
    "run": Row("tagger {arrays}", ("tagger {others}", 1), None, NAMES),
    "pull": Row("typed-1 --out {out}", ("typed-1 --out {taken}", 1)),
    "push": Row("typed-1 hf://me/typed", ("typed-1 me/typed", 1)),
    "log": Row("typed-1 --mlflow {store}", ("nope --mlflow {store}", 1)),
    "models list": Row("", None, "/models", ["{model}", *NAMES]),
    "models show": Row("typed-1", ("nope", 1), "/models/{model}", ["{model}", *NAMES]),
    "models card": Row("typed-1", ("nope", 1)),
    "models files": Row("typed-1", ("nope", 1), "/models/{model}/files", ["compressed-int8.onnx"]),
    "models report": Row("typed-1", ("nope", 1), "/models/{model}/report"),
    "models latency": Row(
        "typed-1 --steps 2", ("typed-1 --steps 0", 1), "/models/{model}/latency?steps=2", NAMES
    ),
    "models delete": Row("tiny", ("nope", 1), once=True),
    "promote": Row("typed-1 --as next", ("nope --as prod", 1), None, ["next", "{model}"]),
    "aliases list": Row("", None, "/aliases", ["prod"]),
    "aliases show": Row("prod", ("nope", 1), "/aliases/prod", ["prod"]),
    "aliases shadow": Row("prod", ("nope", 1), "/aliases/prod/shadow"),
    "rollback": Row("staging", ("nope", 1), once=True),
    "aliases delete": Row("staging", ("nope", 1), once=True),
    "jobs list": Row("", None, "/jobs", ["{job}"]),
    "jobs show": Row("{job}", ("nope", 1), "/jobs/{job}", ["{job}", "{model}"]),
    "jobs watch": Row("{job}", ("{failed}", 1), "/jobs/{job}", ["{model}"]),
    "jobs logs": Row("{job} --follow", ("nope", 1)),
    "jobs cancel": Row("{job}", ("nope", 1), "/jobs/{job}", ["{job}"]),
    "keys new": Row("lab --scope read", ("'l b' --scope read", exits.USAGE), None, ["lab"]),
    "doctor": Row("--home {home}", ("--home {home} --url http://127.0.0.1:1", 1)),
    "backup": Row("{out}/a.tar --home {home}", ("{taken} --home {home}", 1)),
    "restore": Row("{backup} --home {out}", ("{broken} --home {out}", 1)),
    "sweeps list": Row("", None, "/sweeps", ["{sweep}"]),
    "sweeps show": Row("{sweep}", ("nope", 1), "/sweeps/{sweep}", ["{sweep}", "{model}", "{job}"]),
    "sweeps cancel": Row("{sweep}", ("nope", 1), "/sweeps/{sweep}", ["{sweep}"]),
}
OWN_ANSWERS = ("inspect", "doctor")
"""Commands whose answer says what is wrong, which goes to stdout whatever it is."""
ALONE = ("backup", "doctor", "keys new", "restore")
"""Commands that need no service."""
COSTLY = ("doctor", "inspect")
"""Commands that take seconds each time: what all do alike, the others show in fast tests."""
PROCESSES = {"demo", "serve", "worker"}
"""They start processes, and are tested as such."""


def commands(command: Any = None, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of the program by its words, without groups."""
    command = typer.main.get_command(app) if command is None else command
    for name, each in getattr(command, "commands", {}).items():
        words = f"{path} {name}".strip()
        yield from commands(each, words) if hasattr(each, "commands") else [(words, each)]


COMMANDS = dict(commands())
every_row = pytest.mark.parametrize("name", ROWS)


def rows(names: Iterable[str], slow: Sequence[str]) -> list[Any]:
    """Rows as parameters, of which some are tested by the slow tests."""
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in names]


@dataclass(frozen=True)
class Served:
    """A service, and what the rows' braces stand for.

    Attributes:
        url: its address.
        named: by the words in braces.
    """

    url: str
    named: dict[str, str]

    def filled(self, text: str) -> str:
        return text.format_map(self.named)

    def call(self, name: str, arguments: str, *more: str, columns: int = 80) -> Result:
        """Runs a command line in this process, its output kept apart by stream."""
        runner = CliRunner(env={"ISS_URL": self.url, "COLUMNS": str(columns)})
        row = ROWS.get(name)
        return runner.invoke(
            app,
            f"{name} {self.filled(arguments)} {' '.join(more)}",
            input=None if row is None else row.stdin,
        )


@pytest.fixture(scope="module")
def served(
    published: Published, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("commands")
    shutil.copytree(published.settings.home, folder / "home")
    reader.publish(folder / "home")
    tagger.publish(folder / "home", Recipe(name="tagger"))
    (folder / "lines.txt").write_text("the cat likes nothing\n\na dog sees the road\n")
    (folder / "inputs.npz").write_bytes(dump_npz({"ids": np.array([[3, 17], [5, 0]])}))
    (folder / "others.npz").write_bytes(dump_npz({"other": np.zeros(2)}))
    (folder / "broken.pt").write_bytes(b"no model")
    (folder / "taken").mkdir()
    (folder / "taken" / "README.md").write_text("mine")
    named = {
        "upload": str(trained.model),
        "words": str(trained.vocabulary),
        "lines": str(folder / "lines.txt"),
        "arrays": str(folder / "inputs.npz"),
        "others": str(folder / "others.npz"),
        "broken": str(folder / "broken.pt"),
        "taken": str(folder / "taken"),
        "home": str(folder / "home"),
        "store": f"sqlite:///{folder / 'mlflow.db'}",
    }
    with (
        pytest.MonkeyPatch.context() as patch,
        hub_stub() as hub,
        service_and_worker(folder / "home") as url,
        Client(url) as client,
    ):
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_TOKEN", "hf_test")
        patch.chdir(folder)  # where MLflow keeps artifacts
        sweep = client.sweep(
            trained.model,
            [{"budget": {"size_ratio": 0.5}}],
            recipe=Recipe(name="typed", minutes=0),
            vocabulary=trained.vocabulary,
        )
        failed = client.wait(client.compress(folder / "broken.pt").id)
        job = client.wait(sweep.jobs[0].id)
        assert job.state is JobState.SUCCEEDED, job.problem
        named |= {"sweep": sweep.id, "job": job.id, "model": str(job.model_id), "failed": failed.id}
        for alias, variant in (
            ("prod", "original"),
            ("staging", "original"),
            ("staging", "compressed"),
        ):
            asked = {"model": "reader", "variant": variant}
            client.put_alias(alias, AliasRequest.model_validate(asked))
        back_up(StoreSettings(home=folder / "home"), folder / "backup.tar")
        named["backup"] = str(folder / "backup.tar")
        yield Served(url, named)


@pytest.fixture
def at(served: Served, tmp_path: Path) -> Served:
    """The service, with a folder of this test's own."""
    return Served(served.url, served.named | {"out": str(tmp_path / "out")})


def test_every_command_has_a_row() -> None:
    assert set(COMMANDS) == set(ROWS) | PROCESSES


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_the_exit_codes_and_cuts_nothing(name: str) -> None:
    for option in ("--help", "-h"):
        told = CliRunner(env={"COLUMNS": "80"}).invoke(app, f"{name} {option}")
        assert told.exit_code == 0
        assert told.stderr == ""
        text = " ".join(told.stdout.split())
        assert exits.EPILOG in text
        for parameter in COMMANDS[name].params:
            for flag in (*parameter.opts, *parameter.secondary_opts):
                assert flag in text


@pytest.mark.parametrize("group", ["", "models", "aliases", "jobs", "sweeps"])
def test_help_of_a_group_says_what_each_command_does(group: str) -> None:
    told = CliRunner(env={"COLUMNS": "80"}).invoke(app, f"{group} --help").stdout
    listed = told.split("Commands:")[1].splitlines()
    assert [line for line in listed if line.endswith("...")] == []
    assert exits.EPILOG in " ".join(told.split())


def test_every_command_offers_json() -> None:
    without = {
        name
        for name, command in COMMANDS.items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without == {"demo", "worker"}  # which answer nothing


@every_row
def test_json_is_all_of_stdout_and_what_the_api_answers(name: str, at: Served) -> None:
    row = ROWS[name]
    done = at.call(name, row.succeeds, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    if row.path is not None:
        there = httpx.get(f"{at.url}{at.filled(row.path)}").json()
        assert _lasting(answer) == _lasting(there)


def _lasting(answer: Any) -> Any:
    """An answer without what differs from one request to the next."""
    if isinstance(answer, dict):
        return {key: _lasting(each) for key, each in answer.items() if key != "cached"}
    return [_lasting(each) for each in answer] if isinstance(answer, list) else answer


@pytest.mark.parametrize("name", rows([name for name, row in ROWS.items() if not row.once], COSTLY))
@pytest.mark.parametrize("columns", [80, 140])
def test_text_holds_every_id_whole_on_stdout_alone(name: str, columns: int, at: Served) -> None:
    row = ROWS[name]
    done = at.call(name, row.succeeds, columns=columns)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.strip()
    assert "…" not in done.stdout
    assert [each for each in map(at.filled, row.whole) if each not in done.stdout] == []
    assert max(map(len, done.stdout.splitlines())) <= columns or name in (
        "jobs logs",
        "models card",
    )


@pytest.mark.parametrize(
    "name",
    rows(
        [name for name, row in ROWS.items() if row.fails is not None],
        (*COSTLY, "compress", "sweep"),
    ),
)
@pytest.mark.parametrize("json_too", [False, True])
def test_refusal_leaves_stdout_empty_and_its_reason_on_stderr(
    name: str, json_too: bool, at: Served
) -> None:
    refused = ROWS[name].fails
    assert refused is not None
    arguments, code = refused
    done = at.call(name, arguments, *(["--json"] if json_too else []))
    assert done.exit_code == code, done.output
    if name in OWN_ANSWERS:
        assert done.stdout.strip()
        assert done.stderr == ""
    else:
        assert done.stdout == ""
        assert done.stderr.strip()
    told = (done.stdout + done.stderr).splitlines()
    assert "Traceback" not in done.output
    assert len(told) == len(set(told)) or name in OWN_ANSWERS


@pytest.mark.parametrize("name", [name for name in ROWS if name not in ALONE])
def test_service_that_does_not_answer_has_a_code_of_its_own(name: str, at: Served) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    done = at.call(name, ROWS[name].succeeds, "--url", nowhere)
    assert (done.exit_code, done.stdout) == (exits.UNREACHABLE, "")
    assert nowhere in done.stderr
    assert len(done.stderr.splitlines()) == 1


@every_row
def test_option_that_there_is_not_is_wrong_usage(name: str, at: Served) -> None:
    done = at.call(name, ROWS[name].succeeds, "--no-such-option")
    assert (done.exit_code, done.stdout) == (exits.USAGE, "")
    assert "--no-such-option" in done.stderr


def test_environment_asks_for_json(at: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISSLIM_OUTPUT", "json")
    assert json.loads(at.call("models", "").stdout)
    monkeypatch.setenv("ISSLIM_OUTPUT", "xml")
    wrong = at.call("models", "")
    assert (wrong.exit_code, wrong.stdout) == (exits.USAGE, "")
    assert "ISSLIM_OUTPUT is 'xml': expected json or text" in wrong.stderr


def test_group_alone_lists_with_the_options_of_its_list(at: Served) -> None:
    for group in ("models", "jobs", "sweeps"):
        whole = at.call(f"{group} list", "", "--json")
        assert at.call(group, "", "--json").stdout == whole.stdout
        assert at.call(group, "--help").stdout != at.call(f"{group} list", "--help").stdout


def test_sweep_is_the_api_s_and_detached_jobs_are_not_waited_for(at: Served) -> None:
    asked = f"{UPLOAD} --name typed --detach"
    assert json.loads(at.call("sweep", asked, "--json").stdout)["id"] == at.named["sweep"]
    asked = f"{UPLOAD} --name typed-1 --detach"
    watch = f"isslim jobs watch {at.named['job']}"
    # What ISS_URL says already is left out.
    known = at.call("compress", asked)
    assert " ".join(known.stdout.split()).endswith(watch)
    other = at.url.replace("127.0.0.1", "localhost")
    told = at.call("compress", f"{asked} --url {other}")
    assert " ".join(told.stdout.split()).endswith(f"{watch} --url {other}")
