"""Corpora for the demo, the benchmarks and the tests. The project ships no text.

- `pydoc`: the documentation that every Python installation carries (the language topics of `pydoc`
  and the standard library's docstrings), read from the running interpreter without importing its
  modules: a real corpus, always there.
- `ptb`, `gutenberg`: Penn Treebank in Mikolov's form, and public-domain novels in the same form,
  below `ISS_DATA`.
- any folder with `train.txt`, `valid.txt`, `test.txt` (or `.txt.xz`).
"""

from __future__ import annotations

import ast
import importlib
import lzma
import re
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from isslim.settings.training import TrainingSettings

UNKNOWN, END = "<unk>", "<eos>"
_NAMED = {
    "ptb": ("ptb", "ptb.{}.txt"),
    "gutenberg": ("gutenberg-lm", "{}.txt"),
}
_PIECE = re.compile(r"[a-z]+|[0-9]+|[^\sa-z0-9]")


@dataclass(frozen=True)
class Corpus:
    """Three texts, one sentence or paragraph a line, tokens separated by spaces."""

    train: str
    valid: str
    test: str


def load_corpus(name: str) -> Corpus:
    """Loads a corpus by name or folder.

    Raises:
        FileNotFoundError: with the path that was expected.
    """
    if name == "pydoc":
        lines = documentation_lines()
        # Each held-out part takes every twentieth line, so that all three cover all topics.
        parts = ([], [], []) if not lines else (
            [line for index, line in enumerate(lines) if index % 20 not in (7, 13)],
            lines[7::20],
            lines[13::20],
        )  # fmt: skip
        return Corpus(*("\n".join(part) + "\n" for part in parts))
    folder, pattern = Path(name), "{}.txt"
    if name in _NAMED:
        data = TrainingSettings().data
        if data is None:
            raise FileNotFoundError(
                f"the corpus '{name}' is looked for below ISS_DATA, which is not set"
            )
        folder = data / _NAMED[name][0]
        pattern = _NAMED[name][1]
    return Corpus(*(_read(folder / pattern.format(part)) for part in ("train", "valid", "test")))


def build_vocabulary(text: str, size: int) -> list[str]:
    """The most frequent tokens, in the order (-count, token); line breaks count as `<eos>`.

    Args:
        text: the training text.
        size: of the vocabulary; `<unk>` is always a part of it.
    """
    counts = Counter(text.replace("\n", f" {END} ").split())
    words = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    if UNKNOWN not in words[:size]:
        words = [*words[: size - 1], UNKNOWN]
    return words[:size]


def documentation_lines() -> list[str]:
    """The running Python's documentation: a lower-cased, tokenised paragraph a line, in order."""
    texts = [
        text for _, text in sorted(importlib.import_module("pydoc_data.topics").topics.items())
    ]
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if {"site-packages", "test", "tests", "idle_test", "__pycache__"} & set(path.parts):
            continue
        texts += _docstrings(path)
    paragraphs = (paragraph for text in texts for paragraph in re.split(r"\n\s*\n", text))
    lines = (" ".join(_PIECE.findall(paragraph.lower())) for paragraph in paragraphs)
    return [line for line in dict.fromkeys(lines) if line.count(" ") >= 4]


def _docstrings(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                found.append(text)
    return found


def _read(path: Path) -> str:
    if path.exists():
        return path.read_text(encoding="utf-8")
    packed = path.with_name(path.name + ".xz")
    if packed.exists():
        with lzma.open(packed, "rt", encoding="utf-8") as file:
            return file.read()
    raise FileNotFoundError(f"looked for {path} and {packed.name} beside it")
