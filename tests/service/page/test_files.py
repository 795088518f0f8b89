"""The page's files: small, whole, from here alone, and what users wrote stays text."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.service.routes.page import FOLDER, page_files
from isslim.service.squeezing import squeezed, squeezed_style
from isslim.settings.service import ServiceSettings
from isslim.types.kinds.registry import kinds
from tests.conftest import Published

VENDOR, EXAMPLE = FOLDER / "vendor", FOLDER / "example"
OWN = sorted(
    path
    for path in FOLDER.rglob("*")
    if path.is_file() and not path.is_relative_to(VENDOR) and not path.is_relative_to(EXAMPLE)
)
MAX_BYTES, MAX_LINES, MAX_WORDS, MAX_COLUMNS = 60_000, 400, 600, 150
"""Bytes as they are sent; lines of a file, of the one with all words; columns."""
FOREIGN = re.compile(r"(?:https?:)?//[\w-]+(?:\.[\w-]+)*")
ALLOWED = {"http://www.w3.org"}
"""The name of SVG's language, which nothing is loaded from."""
AS_CODE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySetInner|\beval\("
    r"|new Function|createContextualFragment|parseFromString|srcdoc|javascript:|\.cssText"
)
SETTERS = re.compile(r"""\bstyle=["'`]|\son[a-z]+=["']""")
"""Of attributes that a strict policy refuses: inline styles, handlers as text."""


@pytest.fixture(scope="module")
def http(published: Published) -> Iterator[TestClient]:
    with TestClient(create_app(ServiceSettings(home=published.settings.home))) as made:
        yield made


def foreign(text: str) -> set[str]:
    """Addresses of other hosts in a file."""
    without = re.sub(r"^\s*//.*$|(?<=\s)//\s.*$", "", text, flags=re.MULTILINE)
    return {each for each in FOREIGN.findall(without) if "://" in each} - ALLOWED


def test_page_is_small() -> None:
    """All of it, as it is sent; nobody needs all of it for a screen."""
    beside = {path.relative_to(FOLDER).as_posix() for path in VENDOR.iterdir()} - {
        "vendor/preact.js"
    }  # licences and hashes, which no page loads
    # An upload for who has none, which is loaded when it is asked for.
    beside |= {path.relative_to(FOLDER).as_posix() for path in EXAMPLE.iterdir()}
    sent = {name: file for name, file in page_files().items() if name not in beside}
    assert sum(len(gzip.compress(file.content, 5)) for file in sent.values()) < MAX_BYTES


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("// a remark\n  const a = `x\n    y`; // another\n\nconst b = 'p; // q';\n",
         "const a=`x\ny`;const b='p; // q';\n"),
        ("const a = [\n  b(\n    c,\n  ),\n]\n  .map((d) =>\n    e);\nf();\n",
         "const a=[b(c)].map((d)=>e);f();\n"),
        ("html`<p>\n  <b>x y</b>\n  z, ( a )</p>`;\n", "html`<p><b>x y</b>\nz, ( a )</p>`;\n"),
        ("import {\n  a,\n  b,\n} from './x.js';\n", "import{a,b}from'./x.js';\n"),
        ("const a = b - -1 + +c + d / e;\n", "const a=b- -1+ +c+d/e;\n"),
        ("const [, , a] = /[/'`{ ] \\/ x/.exec(b) || [];\n",
         "const[,,a]=/[/'`{ ] \\/ x/.exec(b)||[];\n"),
        ("f(`a ${b ? `c ${ { d: 1 } } e` : ''} $f`);\n", "f(`a ${b?`c ${{d:1}} e`:''} $f`);\n"),
        ("if (a) {\n  b();\n} else {\n  return 'x';\n}\nc();\n",
         "if(a){b()}else{return'x'}\nc();\n"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_for_readers_alone(written: str, sent: str) -> None:
    assert squeezed(written) == sent


def test_style_is_sent_without_what_separates() -> None:
    style = (
        "/* a */\nmain > a, b :hover { margin: 0 1px; content: '\\2713  '; }\nb {\n  top: 0;\n}\n"
    )
    sent = "main > a,b :hover{margin:0 1px;content:'\\2713  '}b{top:0}\n"
    assert squeezed_style(style) == sent


@pytest.mark.parametrize("script", ["a = 'x;\n", "a = `x ${b} y;\n", "a = `x ${b;\n", "{"])
def test_script_without_an_end_is_refused(script: str) -> None:
    with pytest.raises(ValueError, match=r"no end|ends within"):
        squeezed(script)


@pytest.mark.parametrize("path", OWN, ids=lambda path: str(path.relative_to(FOLDER)))
def test_file_is_short_and_names_no_other_host(path: Path) -> None:
    text = path.read_text()
    lines = text.splitlines()
    assert len(lines) <= (MAX_WORDS if path.name == "words.js" else MAX_LINES)
    if path.suffix != ".css":
        assert [line for line in lines if len(line) > MAX_COLUMNS] == []
    assert foreign(text) == set()


@pytest.mark.parametrize(
    "path", [each for each in OWN if each.suffix in (".js", ".html")], ids=lambda path: path.name
)
def test_nothing_becomes_code_or_elements_by_its_text(path: Path) -> None:
    text = path.read_text()
    assert AS_CODE.findall(text) == []
    assert SETTERS.findall(text) == []
    if path.suffix == ".js":
        assert text.startswith("// "), "what it owns, in its first line"


def test_checks_find_what_they_look_for() -> None:
    assert foreign('fetch("https://example.org/x")') == {"https://example.org"}
    assert foreign('xmlns="http://www.w3.org/2000/svg" // a remark') == set()
    assert AS_CODE.search("node.innerHTML = text")
    assert SETTERS.search('<p style="color:red">')
    assert SETTERS.search('<img onerror="x()">')
    assert not SETTERS.search("<p style=${{ color }} onClick=${go}>")


def test_vendored_files_are_those_of_the_named_package() -> None:
    listed = dict(
        reversed(line.split("  ", 1)) for line in (VENDOR / "SHA256SUMS").read_text().splitlines()
    )
    packages = {name for name in listed if name.endswith(".tgz")}
    assert all(re.fullmatch(r"[a-z-]+-\d+\.\d+\.\d+\.tgz", name) for name in packages)
    files = {path.name for path in VENDOR.iterdir()} - {"SHA256SUMS"}
    assert files == listed.keys() - packages
    for name in files:
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == listed[name], name
    assert {"LICENSE-htm", "LICENSE-preact"} <= files


def test_every_module_that_is_imported_is_there() -> None:
    for path in OWN:
        for target in re.findall(r"""(?:from|import)\s*\(?['"](\.[^'"]+)['"]""", path.read_text()):
            assert (path.parent / target).resolve().is_file(), (path.name, target)


def test_words_are_all_there_and_all_used() -> None:
    """English strings are in one module: what views take from it is in it."""
    words = (FOLDER / "words.js").read_text()
    used = {
        name
        for path in OWN
        if path.suffix == ".js"
        for name in re.findall(r"\bW\.(\w+)", path.read_text())
    }
    there = set(re.findall(r"^  (\w+)[:(]|, (\w+): (?=['{(\[]|\()", words, re.MULTILINE))
    assert used <= {name for pair in there for name in pair}


def test_every_kind_of_model_is_tried_and_used_in_its_own_way() -> None:
    """Under the names that manifests give them, of which the page has a table of its own."""
    names = {kind.name for kind in kinds()}
    for file, table in (("model", "TRY"), ("reading", "PROGRAMS")):
        text = (FOLDER / "views" / f"{file}.js").read_text()
        (found,) = re.findall(rf"^const {table} = \{{\n(.*?)^\}};", text, re.MULTILINE | re.DOTALL)
        assert set(re.findall(r"^  '?([\w-]+)'?: [\[(]", found, re.MULTILINE)) == names
    suggested = (
        (FOLDER / "views" / "compress.js").read_text().partition("function suggestedKind")[2]
    )
    assert (
        set(re.findall(r"'([a-z-]+)'", suggested.partition("\n}")[0])) - {"model", "vectors"}
        == names
    )
    speed = (FOLDER / "views" / "model.js").read_text()
    assert set(re.findall(r"task === '([\w-]+)'", speed)) <= names


def test_page_is_served_under_a_strict_policy(http: TestClient) -> None:
    page = http.get("/ui/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-cache"
    for address in re.findall(r'(?:src|href)="([^"#.][^"#]*)"', page.text):
        assert http.get(f"/ui/{address}").status_code == 200, address
    script = http.get("/ui/app.js", headers={"accept-encoding": "gzip"})
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["content-encoding"] == "gzip"


def test_page_is_sent_again_only_when_it_changed(http: TestClient) -> None:
    first = http.get("/ui/app.js")
    known = {"if-none-match": first.headers["etag"]}
    again = http.get("/ui/app.js", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert http.get("/ui/ui.css", headers=known).status_code == 200
    assert http.head("/ui/").status_code == 200


@pytest.mark.parametrize("path", ["../main.py", "%2e%2e/main.py", "vendor", "x", "%00", "a//b"])
def test_nothing_else_is_served(http: TestClient, path: str) -> None:
    answer = http.get(f"/ui/{path}")
    assert answer.status_code == 404
    assert answer.json()["status"] == 404


def test_browsers_are_sent_to_the_page_and_it_can_be_switched_off(
    http: TestClient, published: Published
) -> None:
    browser = {"accept": "text/html,*/*;q=0.8"}
    sent = http.get("/", headers=browser, follow_redirects=False)
    assert (sent.status_code, sent.headers["location"]) == (307, "ui/")
    assert http.get("/").json()["page"] == "/ui/"
    assert http.get("/ui", follow_redirects=False).headers["location"] == "ui/"
    settings = ServiceSettings(home=published.settings.home, ui=False)
    with TestClient(create_app(settings)) as without:
        assert without.get("/ui/").status_code == 404
        assert without.get("/").json()["page"] is None
        sent = without.get("/", headers=browser, follow_redirects=False)
        assert sent.headers["location"] == "docs"


def test_wheel_holds_every_file() -> None:
    """What setuptools is told to take: all files below the folder, at any depth."""
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert '"service/web/**/*"' in project
    assert set(page_files()) == {
        path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()
    }
