"""`docs/adding-a-kind.md` names what there is, and its excerpts are those of the example kind."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "adding-a-kind.md").read_text()
EXCERPTS = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
QUOTED = sorted(set(re.findall(r"`([^`\n]+)`", PAGE)))
PATHS = [each for each in QUOTED if re.fullmatch(r"(isslim|tests)/[\w/.]+", each)]
OBJECTS = [each for each in QUOTED if re.fullmatch(r"isslim(\.\w+)+", each)]
MODULES = [each for each in QUOTED if re.fullmatch(r"\w+\.py", each)]
METHODS = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("path", PATHS)
def test_named_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", MODULES)
def test_named_module_is_one_of_the_example(name: str) -> None:
    assert (ROOT / "tests" / "row_classifier" / name).exists()


@pytest.mark.parametrize("name", OBJECTS)
def test_named_object_exists(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(import_module(module), attribute)


def test_every_method_of_a_job_is_one_of_a_task_and_of_the_example() -> None:
    from isslim.compress.contract import ModelTask
    from tests.row_classifier.compression import RowTask

    named = set(re.findall(r"\w+", " ".join(METHODS)))
    assert named >= ModelTask.__abstractmethods__
    assert all(callable(getattr(RowTask, name)) for name in named)


@pytest.mark.parametrize(("path", "excerpt"), EXCERPTS, ids=[path for path, _ in EXCERPTS])
def test_excerpt_is_in_the_file_that_it_names(path: str, excerpt: str) -> None:
    source, place = (ROOT / path).read_text(), 0
    for part in excerpt.split("...\n"):
        place = source.index(part, place) + len(part)  # in this order


def test_page_has_what_is_looked_for() -> None:
    assert len(EXCERPTS) >= 6
    assert len(PATHS) >= 8
    assert len(OBJECTS) >= 10
    assert {"description.py", "runtime.py", "service.py", "compression.py"} <= set(MODULES)
