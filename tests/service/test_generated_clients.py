"""Clients that others' generators make of the OpenAPI document: they compile, and get answers.

Minutes, since the generators are installed first, each at a fixed version and for this test alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Published
from tests.service.served import served

pytestmark = pytest.mark.slow
NODE, NPM = shutil.which("node"), shutil.which("npm")
NODE_PACKAGES = {
    "@redocly/cli": "2.77.0",
    "@stoplight/spectral-cli": "6.16.3",
    "openapi-fetch": "0.17.0",
    "openapi-typescript": "7.13.0",
    "typescript": "5.9.3",
}
PYTHON_GENERATOR = "openapi-python-client==0.29.1"
needs_node = pytest.mark.skipif(
    NODE is None or NPM is None, reason="node and npm are not installed: no TypeScript client"
)

TYPESCRIPT = """
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };
type Variant = components["schemas"]["VariantView"];
const client = createClient<paths>({ baseUrl: process.argv[2] });

const listed = await client.GET("/models");
if (!listed.data) throw new Error(JSON.stringify(listed.error));
const variants: Variant[] = listed.data[0].variants;
const parameters: number[] = variants.map((each) => each.parameters);

const scored = await client.POST("/score", {
  body: { model: "tiny", texts: ["the cat sees the river"], variants: ["original", "compressed"] },
});
if (!scored.data) throw new Error(scored.error.detail);
const perplexities: (number | null)[] = scored.data.variants.map((each) => each.perplexity);

const refused = await client.GET("/models/{model}", { params: { path: { model: "nope" } } });
const kind: string | undefined = refused.error?.type;
console.log(JSON.stringify({ parameters, perplexities, kind }));
"""

PYTHON = """
import json
import sys
from io import BytesIO

from isslim_client import Client
from isslim_client.api.compress import compress_model
from isslim_client.api.jobs import cancel_job, get_job
from isslim_client.api.models import get_model, list_models
from isslim_client.api.score import score_texts
from isslim_client.models import BodyCompressModel, ScoreRequest
from isslim_client.types import File

with Client(base_url=sys.argv[1]) as client:
    (listed,) = list_models.sync(client=client)
    scored = score_texts.sync(
        client=client, body=ScoreRequest(model="tiny", texts=["the cat sees the river"])
    )
    form = BodyCompressModel(
        model=File(payload=BytesIO(b"xyz"), file_name="m.pt"), options='{"name": "generated"}'
    )
    job = compress_model.sync(client=client, body=form)
    found = get_job.sync(job.id, client=client)
    cancelled = cancel_job.sync(job.id, client=client)
    refused = get_model.sync("nope", client=client)
print(json.dumps({
    "parameters": [each.parameters for each in listed.variants],
    "perplexities": [each.perplexity for each in scored.variants],
    "job": [found.name, found.state.value, cancelled.state.value],
    "sent": found.request.model.filename,
    "kind": refused.type_,
}))
"""


@pytest.fixture(scope="module")
def url(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service over a copy of the home: a client of the test queues a job."""
    home = tmp_path_factory.mktemp("generated") / "home"
    shutil.copytree(published.settings.home, home)
    with served(home, {}) as address:
        yield address


@pytest.fixture(scope="module")
def document(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("document") / "openapi.json"
    file.write_bytes(httpx.get(f"{url}/openapi.json").content)
    return file


def run(*command: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages; without a registry there is none."""
    folder = tmp_path_factory.mktemp("node")
    package = {"name": "client", "private": True, "type": "module", "dependencies": NODE_PACKAGES}
    (folder / "package.json").write_text(json.dumps(package))
    options = ("--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund")
    installed = run(str(NPM), "install", *options, folder=folder)
    if installed.returncode:
        pytest.skip(f"npm cannot install the generators: {installed.stderr[-300:]}")
    return folder


@needs_node
def test_linters_of_openapi_find_no_error(node: Path, document: Path) -> None:
    (node / ".spectral.yaml").write_text('extends: ["spectral:oas"]\n')
    (node / "redocly.yaml").write_text("extends: [recommended]\n")
    broken = json.loads(document.read_text())
    del broken["paths"]["/score"]["post"]["responses"]["200"]["description"]
    wrong = document.with_name("wrong.json")
    wrong.write_text(json.dumps(broken))
    for tool, options in (
        ("redocly", ("lint", "--format=summary")),
        ("spectral", ("lint", "--fail-severity=error", "--ruleset=.spectral.yaml")),
    ):
        for file, status in ((document, 0), (wrong, 1)):
            found = run(
                node / "node_modules" / ".bin" / tool,
                *options,
                file,
                folder=node,
                REDOCLY_TELEMETRY="off",
                REDOCLY_SUPPRESS_UPDATE_NOTICE="true",
            )
            assert found.returncode == status, f"{tool}: {found.stdout}{found.stderr}"


@needs_node
def test_typescript_client_compiles_and_gets_answers(
    node: Path, document: Path, url: str, published: Published
) -> None:
    tools = node / "node_modules" / ".bin"
    made = run(
        tools / "openapi-typescript",
        document,
        "--output=schema.ts",
        "--default-non-nullable=false",
        folder=node,
    )
    assert made.returncode == 0, made.stderr
    strict = ("--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom")
    (node / "client.ts").write_text(TYPESCRIPT)
    compiled = run(tools / "tsc", *strict, "client.ts", folder=node)
    assert compiled.returncode == 0, compiled.stdout
    found = run(str(NODE), "client.js", url, folder=node)
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout)
    assert said["parameters"] == parameters(url)
    assert all(value > 1 for value in said["perplexities"])
    assert said["kind"] == "not-found"
    (node / "wrong.ts").write_text(TYPESCRIPT.replace("each.parameters", "each.params"))
    wrong = run(tools / "tsc", *strict, "--noEmit", "wrong.ts", folder=node)
    assert wrong.returncode != 0
    assert "'params' does not exist" in wrong.stdout


def parameters(url: str) -> list[int]:
    return [each["parameters"] for each in httpx.get(f"{url}/models").json()[0]["variants"]]


def test_python_client_is_imported_and_gets_answers(
    document: Path, url: str, tmp_path: Path
) -> None:
    """In an environment of its own: the generator's libraries are of other versions than ours."""
    assert run(sys.executable, "-m", "venv", "venv", folder=tmp_path).returncode == 0
    tools = tmp_path / "venv" / "bin"
    installed = run(tools / "pip", "install", "--quiet", PYTHON_GENERATOR, folder=tmp_path)
    if installed.returncode:
        pytest.skip(f"pip cannot install the generator: {installed.stderr[-300:]}")
    made = run(
        tools / "openapi-python-client",
        *("generate", "--path", document, "--output-path", "client"),
        folder=tmp_path,
        PATH=f"{tools}{os.pathsep}{os.environ['PATH']}",
    )
    assert made.returncode == 0, made.stdout + made.stderr
    (tmp_path / "ask.py").write_text(PYTHON)
    here = str(tmp_path / "client")
    found = run(tools / "python", "ask.py", url, folder=tmp_path, PYTHONPATH=here)
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout)
    assert said["parameters"] == parameters(url)
    assert all(value > 1 for value in said["perplexities"])
    assert said["job"] == ["generated", "queued", "cancelled"]
    assert said["sent"] == "m.pt"
    assert said["kind"] == "not-found"
