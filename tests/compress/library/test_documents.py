"""The programs of `docs/library.md`, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from isslim.types.recipe import Recipe

ROOT = Path(__file__).parents[3]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own; modules beside the examples can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    return tmp_path


@pytest.mark.slow
def test_blocks_of_the_page_run_one_after_the_other(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "library.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 7
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/library.md", "exec"), names)
    assert {"small.onnx", "small-int8.onnx", "bundle"} == {
        each.name for each in elsewhere.iterdir()
    }
    assert "parameters" in capsys.readouterr().out
    assert names["scores"].shape[-1] == 4  # type: ignore[attr-defined]
    assert torch.equal(names["again"](names["calls"][0]), names["scores"])  # type: ignore[operator,index]
    assert names["logits"].shape == (3, 1, 9)  # type: ignore[attr-defined]
    assert names["possible"] > 0  # type: ignore[operator]


def test_page_names_every_option() -> None:
    page = (ROOT / "docs" / "library.md").read_text()
    assert [name for name in Recipe.model_fields if f"`{name}`" not in page] == []
