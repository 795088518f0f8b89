"""The notebook runs from its first cell to its last, and is stored without outputs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "compress.ipynb"


def test_notebook_holds_no_outputs() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if "outputs" in cell]
    assert len(cells) >= 5
    assert {cell["cell_type"] for cell in cells} == {"code"}
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


def test_links_of_the_notebook_resolve() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []


@pytest.mark.slow
def test_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # They take seconds to load, and are not while tests are collected.
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    printed = "".join(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text" in output
    )
    before, after, further = (
        float(each)
        for each in re.findall(r"accuracy (?:after 100 further steps )?([\d.]+)%", printed)
    )
    assert before > 90
    assert after > before - 5
    assert further > after - 1
    assert "<- chosen" in printed
    assert float(re.findall(r"difference to the module (\S+)", printed)[0]) < 1e-4
    assert "manifest.json" in printed
