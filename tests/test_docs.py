"""What the README and the documents say is so: links, paths, commands, requests, numbers."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import typer.main
from fastapi.testclient import TestClient

import isslim
from benchmarks.paper import figures, report
from benchmarks.ptb import picture
from benchmarks.ptb.published import PUBLISHED
from isslim.client.api import Client
from isslim.client.cli import app
from isslim.compress.ingest.config import UploadConfig
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.settings.worker import Evaluation
from isslim.types.recipe import Budget, Recipe

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
RECORDS = ROOT / "benchmarks" / "records"
MAX_README_BYTES = 8192
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= MAX_README_BYTES


@pages
def test_lines_fit_in_100_columns(page: Path) -> None:
    """Tables and addresses aside."""
    lines = [line for line in page.read_text().splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > 100 and "://" not in line] == []


@pages
def test_tables_have_their_head(page: Path) -> None:
    """A row behind an empty line is shown as it is written."""
    lines = ["", *without_code(page.read_text()).splitlines()]
    first = [at for at, (above, line) in enumerate(pairwise(lines)) if line[:1] == "|" != above[:1]]
    heads = [at for at in first if not re.fullmatch(r"\|[-:| ]+\|", lines[at + 2])]
    assert [lines[at + 1] for at in heads] == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def without_code(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


@pages
def test_links_resolve(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page.suffix == ".md" and page not in reached:
            reached.add(page)
            links = re.findall(r"\]\(([^)\s#]+)", without_code(page.read_text()))
            waiting += [(page.parent / link).resolve() for link in links if "://" not in link]
    assert set(PAGES) - reached == set()


@pages
def test_paths_in_the_text_exist(page: Path) -> None:
    named = re.findall(r"`((?:isslim|benchmarks|tests|docs|examples)/[\w./-]*)`", page.read_text())
    generated = ("benchmarks/output",)
    assert [path for path in named if not (ROOT / path).exists() | path.startswith(generated)] == []


def tree() -> set[str]:
    """Every folder and module that the architecture names, by its whole path."""
    found, folder = set(), ""
    section = (DOCS / "architecture.md").read_text().split("## The tree")[1]
    for line in re.findall(r"^( *)(\S+)  ", section, re.MULTILINE):
        indent, name = line
        if not indent:
            folder = name
        found.add(folder if not indent else folder + name)
    return found


def test_architecture_names_every_folder_and_module_by_its_path() -> None:
    files = {
        path.relative_to(ROOT)
        for top in ("isslim", "benchmarks", "examples")
        for path in (ROOT / top).rglob("*.py")
    }
    expected = {str(path) for path in files if path.name != "__init__.py"}
    expected |= {f"{path.parent}/" for path in files}
    assert tree() - expected == set(), "named and not there"
    assert expected - tree() == set(), "there and not named"


def blocks(page: Path, language: str) -> list[str]:
    """A page's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command on a page: in blocks of shell, and between backticks."""
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    quoted = re.compile(r"'[^']*'")  # may go over several lines
    text = quoted.sub(lambda found: found[0].replace("\n", " "), re.sub(r" # .*", "", text))
    lines = text.splitlines()
    inline = re.findall(
        r"`((?:isslim|make|python -m|curl|[A-Z_]+=\S+ make) [^`]+)`", page.read_text()
    )
    for line in [*lines, *inline]:
        words = shlex.split(line)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        if words:
            yield words


def of_program(program: str) -> list[Any]:
    """The commands of one program on all pages, each with its page, as parameters of a test."""
    return [
        pytest.param(words[1:], id=f"{page.relative_to(ROOT)}: {' '.join(words)[:80]}")
        for page in PAGES
        for words in commands(page)
        if words[0] == program
    ]


@pytest.mark.parametrize("words", of_program("isslim"))
def test_isslim_commands_and_options_exist(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    assert not hasattr(command, "commands") or all(word.startswith("-") for word in words)
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    assert [word for word in words if word.startswith("--") and word not in known] == []


@pytest.mark.parametrize("words", of_program("make"))
def test_make_targets_exist(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in words if "=" not in word} <= targets


@pytest.mark.parametrize("words", of_program("python"))
def test_modules_that_are_run_exist_and_know_the_options(words: list[str]) -> None:
    flag, name, *options = words
    assert flag == "-m"
    if not name.startswith(("isslim", "benchmarks", "examples", "supply_chain", "tests")):
        assert name == "tf2onnx.convert"
        return
    file = ROOT.joinpath(*name.split("."))
    file = file / "__main__.py" if file.is_dir() else file.with_suffix(".py")
    assert file.exists(), name
    if name == "isslim.compress":
        return
    known = file.read_text() + (ROOT / "benchmarks" / "ptb" / "run.py").read_text()
    unknown = [each for each in options if each.startswith("--") and f'"{each}"' not in known]
    assert unknown == []


@pytest.mark.parametrize(
    "words", [each for each in of_program("python") if each.values[0][1] == "isslim.compress"]
)
def test_training_commands_are_parsed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from isslim.compress.__main__ import main

    if words[3:] == []:  # the name of the command alone
        words = [*words, "--help"]
    with pytest.raises(SystemExit) as ended:
        main([*words[2:], "--help"])
    assert ended.value.code == 0
    offered = capsys.readouterr().out
    assert [each for each in words if each.startswith("--") and each not in offered] == []


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    made = create_app(ServiceSettings(home=tmp_path_factory.mktemp("home")))
    with TestClient(made, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def paths(service: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = service.get("/openapi.json").json()
    return found


def values_of(words: list[str], flag: str) -> list[str]:
    """What follows a flag, each time."""
    return [value for name, value in pairwise(words) if name == flag]


@pytest.mark.parametrize("words", of_program("curl"))
def test_requests_are_what_the_service_takes(
    words: list[str], service: TestClient, paths: dict[str, Any]
) -> None:
    path = next(word for word in words if word.startswith("localhost:8000")).split("8000")[1]
    forms = dict(value.split("=", 1) for value in values_of(words, "-F"))
    if forms:
        body = paths["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
        known = paths["components"]["schemas"][body["schema"]["$ref"].split("/")[-1]]["properties"]
        assert forms.keys() <= known.keys()
        Recipe.model_validate_json(forms.get("options", "{}"))
        return
    template = path.replace("/graph/", "/{model}/").replace("/prod", "/{alias}")
    assert template.replace("<id>", "{job_id}") in paths["paths"]
    if "--data-binary" in words:
        return
    methods = values_of(words, "-X")
    for content in values_of(words, "-d"):
        # The request is understood: there is no such model, which is found out after all checks.
        method = methods[0] if methods else "POST"
        answer = service.request(method, path.replace("<id>", "nope"), json=json.loads(content))
        said = answer.json()
        assert answer.status_code == 404
        if said.get("type") != "not-found":
            error = said["error"]  # of a protocol: a text, or an object with one
            text = error if isinstance(error, str) else error["message"]
            assert text.startswith("there is no model")
        return
    answer = service.request(methods[0] if methods else "GET", path.replace("<id>", "0" * 16))
    assert (answer.status_code, answer.json()["type"]) == (404, "not-found")


def test_every_endpoint_is_on_its_page(paths: dict[str, Any]) -> None:
    table = (DOCS / "http.md").read_text().split("## Endpoints")[1]
    named = set(re.findall(r"^\| `([A-Z]+ /\S*)` \|", table, re.MULTILINE))
    assert named == {
        f"{method.upper()} {path}" for path, methods in paths["paths"].items() for method in methods
    }


def python_blocks() -> list[Any]:
    """Blocks of Python, but for pieces of a file: `tests/test_adding_a_kind.py` looks at those."""
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page, "python"))
        if not re.match(r"# \S+\.py\n", block)
    ]


@pytest.mark.parametrize("block", python_blocks())
def test_python_examples_use_what_there_is(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module == "isslim":
            for alias in node.names:
                assert hasattr(isslim, alias.name)
        if not isinstance(node, ast.Call):
            continue
        arguments = [None] * len(node.args)
        named = {str(each.arg): None for each in node.keywords}
        if ast.unparse(node.func) in ("Recipe", "Budget"):
            known = {"Recipe": Recipe, "Budget": Budget}[ast.unparse(node.func)].model_fields
            assert named.keys() <= known.keys()
        if isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "client":
            inspect.signature(getattr(Client, node.func.attr)).bind(None, *arguments, **named)


def test_every_problem_that_a_job_may_end_with_is_on_its_page() -> None:
    compress = ROOT / "isslim" / "compress"
    errors = re.findall(
        r'^    kind(?:, title)? = "(.+?)"', (compress / "errors.py").read_text(), re.M
    )
    of_library = {"arguments-refused", "module-refused", "module-not-cut"}
    worker = "".join(each.read_text() for each in (compress / "worker").glob("*.py"))
    kinds = {*errors, *re.findall(r'(?:\bkind=|_problem\()"(.+?)"', worker)} - of_library
    assert len(kinds) > 30
    section = (DOCS / "http.md").read_text().split("### What a job", 1)[1].split("\n## ", 1)[0]
    named = {
        name for row in re.findall(r"^\| (`.+?) \|", section, re.M) for name in row.split(", ")
    }
    assert named - {"`kind`"} == {f"`{kind}`" for kind in kinds}


def test_an_evaluation_is_configured_as_the_models_page_says() -> None:
    (found,) = re.findall(r"ISS_EVALUATIONS='([^']*)'", (DOCS / "models.md").read_text())
    for each in json.loads(found).values():
        Evaluation.model_validate(each)


def test_models_page_has_every_key_of_the_config() -> None:
    text = (DOCS / "models.md").read_text()
    keys = [json.loads(each) for each in re.findall(r"^\| `(\{.*?\})` \|", text, re.MULTILINE)]
    for each in keys:
        UploadConfig.model_validate(each)
    assert {name for each in keys for name in each} == UploadConfig.model_fields.keys()


def test_models_page_has_every_limit_of_a_budget() -> None:
    text = (DOCS / "models.md").read_text().split("## The budget")[1]
    named = re.findall(r"^\| (?:`--[\w-]+ \S+`)? \| `(\w+)` \|", text, re.MULTILINE)
    assert {*named, "confident"} == Budget.model_fields.keys()


def test_decisions_have_their_four_parts_and_stand_in_the_list() -> None:
    listed = (DOCS / "decisions" / "README.md").read_text()
    for page in sorted((DOCS / "decisions").glob("2*.md")):
        lines = page.read_text().splitlines()
        assert lines[0].startswith("# ")
        assert lines[2].startswith(f"Date: {page.name[:10]}")
        headings = [line for line in lines if line.startswith("## ")]
        assert headings == ["## Decision", "## Why", "## Rejected"]
        assert f"| {page.name[:10]} | [{lines[0][2:]}]({page.name}) |" in listed


def runs() -> dict[str, list[dict[str, Any]]]:
    """The records of the Penn Treebank by the name of their configuration."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((RECORDS / "ptb").glob("*.json")):
        record = json.loads(path.read_text())
        found.setdefault(record["name"], []).append(record)
    return found


def row(page: Path, start: str) -> list[str]:
    """The cells of the one row of a page's tables that begins so."""
    lines = [line for line in page.read_text().splitlines() if line.startswith(f"| {start}")]
    assert len(lines) == 1, start
    return [cell.strip() for cell in lines[0].strip("|").split("|")]


@pytest.mark.parametrize("name", sorted(runs()))
def test_penn_treebank_is_as_its_records_say(name: str) -> None:
    records, original = runs()[name], runs()["medium"][0]
    values = [record["test_perplexity"] for record in records]
    perplexity = f"{mean(values):.2f}"
    if len(values) > 1:
        perplexity += f" ({min(values):.2f} to {max(values):.2f})"
    cells = row(DOCS / "benchmarks.md", f"`{name}`")
    if len(cells) == 3:  # a control, of the sizes of `medium-cut`
        assert cells[2] == perplexity
        assert records[0]["sizes"] == runs()["medium-cut"][0]["sizes"]
        return
    work = records[0]["mult_adds"]
    less = "" if name == "medium" else f"{original['mult_adds'] / work:.2f}x"
    sizes = ", ".join(map(str, records[0]["sizes"].values()))
    assert cells[1:] == [sizes, perplexity, f"{work:,}", less]


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_chaos_is_as_its_records_say(backend: str) -> None:
    found = json.loads((RECORDS / f"chaos-{backend}.json").read_text())
    shown = [found[each] for each in ("again", "lost", "doubled", "orphaned", "stuck")]
    assert shown[1:] == [0, 0, 0, 0]
    numbers = (found["kills"], found["jobs"], *shown)
    assert row(DOCS / "benchmarks.md", backend)[1:] == [f"{each:,}" for each in numbers]


def test_what_beats_ours_is_as_published() -> None:
    (best,) = [each for each in PUBLISHED if each.name.startswith("SSE")]
    cells = row(DOCS / "benchmarks.md", f"published: {best.name} ")
    assert cells[2:4] == [str(best.test_perplexity), f"{best.mult_adds:,}"]


def test_readme_has_the_numbers_of_the_records() -> None:
    original, small = runs()["medium"][0], runs()["medium-cut-bolder"][0]
    before, after = (f"{each['test_perplexity']:.2f}" for each in (original, small))
    work = [each["mult_adds"] / 1e6 for each in (original, small)]
    units = [", ".join(map(str, each["units"])) for each in (original, small)]
    cells = row(ROOT / "README.md", "original -> compressed")
    less = f"{work[0]:.1f} M -> {work[1]:.1f} M ({work[0] / work[1]:.1f}x fewer)"
    assert cells[1:4] == [" -> ".join(units), f"{before} -> {after}", less]
    result = row(ROOT / "README.md", "LSTM, 2 x 650, Penn Treebank")[2]
    fewer = f"{work[0] / work[1]:.2f}x fewer multiply-adds"
    assert result == f"{fewer}, test perplexity {before} -> {after}"


def test_int8_forms_are_as_their_record_says() -> None:
    record = json.loads((RECORDS / "int8_forms.json").read_text())
    for found in record["rows"]:
        cells = row(DOCS / "benchmarks.md", f"`{found['model']}` ")
        assert cells[1:5] == [f"{100 * rise:+.2f}" for rise in found["rises"]]
        assert cells[5] == "ABCD"[record["forms"].index(found["chosen"])]


def record_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize(
    ("name", "label"),
    [("calibrate-ptb", "Penn Treebank, 2 x 400 "), ("calibrate-gutenberg", "novels, 2 x 300 ")],
)
def test_joint_cuts_are_as_their_records_say(name: str, label: str) -> None:
    record = record_of(name)
    original = record["original_perplexity"]
    cells = row(DOCS / "benchmarks.md", label)
    assert cells[1] == f"{original:.2f}"
    assert cells[2:] == [
        f"{each['perplexity'] / original:.3f} at {each['mult_adds_ratio']:.2f}x"
        for each in record["rows"]
    ]


def test_speed_at_the_papers_sizes_is_as_its_record_says() -> None:
    for each in record_of("paper_shapes")["rows"]:
        if each["threads"] > 1:
            continue
        shape = f"{each['steps']} x {each['batch']}"
        forms = ("original", "original_int8", "compressed", "compressed_int8")
        times = [each[f"{form}_ms"] for form in forms]
        cells = row(DOCS / "benchmarks.md", f"{shape} | {each['sizes']} ")
        assert cells[2:6] == [f"{time:.3g}" for time in times]
        assert cells[6] == f"{times[0] / times[3]:.1f}x"


def test_peers_are_as_their_record_says() -> None:
    for each in record_of("peers")["rows"]:
        if each["perplexity"] is None:
            continue
        cells = row(DOCS / "benchmarks.md", f"{each['tool']} | {each['perplexity']:.2f} ")
        assert cells[1:3] == [f"{each['perplexity']:.2f}", f"{each['file_mb']:.2f}"]
        assert cells[3:] == [
            f"{each['as_fast'][key]:.2f}x" for key in ("batch", "sentence", "step")
        ]


def test_published_models_are_as_their_record_says() -> None:
    for each in record_of("third_party")["models"]:
        name, file = each["model"].split(": ")
        beginning = f"{name} {each['version']}, {file} "
        cells = row(DOCS / "benchmarks.md", beginning)
        parts = f"{each['parameters_before']:,} -> {each['parameters_after']:,}"
        scores = [each[form] for form in ("original", "int8", "compressed")]
        shown = ", ".join("-" if score is None else f"{score:.2f}" for score in scores)
        assert cells[1:3] == [parts, f"{each['metric']}: {shown}"]
        sure = "" if each["steady"] else ", unsteady"
        over = [each["over_original"], each["over_int8"]]
        assert cells[3:] == ["-" if ratio is None else f"{ratio:.2f}x{sure}" for ratio in over]


def test_int8_cells_are_as_their_record_says() -> None:
    every = record_of("int8_cells")["rows"]
    for steps in (every[start : start + 3] for start in range(0, len(every), 3)):
        first = steps[0]
        sizes = [first["input"], first["units"], *([first["rank"]] if first["rank"] else [])]
        beginning = f"{first['cell'].upper()} | {', '.join(map(str, sizes))} "
        cells = row(DOCS / "benchmarks.md", beginning)
        assert cells[2:5] == [f"{each['ratio']:.2f}x" for each in steps]
        assert cells[5] == ", ".join("yes" if each["chosen"] else "no" for each in steps)


def test_cost_of_a_compression_is_as_its_record_says() -> None:
    record = record_of("paper_size")
    page = " ".join((DOCS / "benchmarks.md").read_text().split())
    said = f"in {record['seconds']:.0f} s, with at most {record['peak_bytes'] / 2**30:.1f} GiB"
    assert said in page


def test_picture_of_the_readme_is_drawn_from_the_records(tmp_path: Path) -> None:
    picture.plot(RECORDS / "ptb", tmp_path / "again.svg")
    drawn = (ROOT / picture.OUT).read_bytes()
    assert (tmp_path / "again.svg").read_bytes() == drawn, "`make docs` draws it again"


def test_the_papers_method_at_small_size_is_as_its_record_says(tmp_path: Path) -> None:
    record = json.loads(figures.KEPT.read_text())
    page = (DOCS / "benchmarks.md").read_text()
    assert f"`{record['command']}`" in " ".join(page.split())
    lines = page.splitlines()
    for line in [*report.measured(record), *report.published()]:
        assert line in lines
    figures.draw(record, tmp_path, ("svg",), figures.PREFIX)
    for name, text in figures.alternative_texts(record).items():
        picture = f"{figures.PREFIX}{name}.svg"
        assert f"![{text}](pictures/{picture})" in " ".join(page.split())
        drawn = (ROOT / figures.PICTURES / picture).read_bytes()
        assert (tmp_path / picture).read_bytes() == drawn, "`make docs` draws it again"


def test_every_benchmark_says_its_command_and_is_on_the_page() -> None:
    page = (DOCS / "benchmarks.md").read_text() + (ROOT / "README.md").read_text()
    for path in sorted((ROOT / "benchmarks").rglob("*.py")):
        text = path.read_text()
        if '__name__ == "__main__"' not in text:
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        assert f"python -m {name}" in str(ast.get_docstring(ast.parse(text)))
        assert f"python -m {name}" in page
