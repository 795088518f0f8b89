"""Corpora for the demo, the benchmarks and the tests. The project ships no text of others.

- `pydoc`: the documentation that every Python installation carries (the language topics of `pydoc`
  and the standard library's docstrings), read from the running interpreter without importing its
  modules: a real corpus, always there.
- `ptb`, `gutenberg`: Penn Treebank in Mikolov's form, and public-domain novels in the same form,
  below `ISS_DATA`.
- any folder with `train.txt`, `valid.txt` and `test.txt`, or with the names of Penn Treebank's
  files, `ptb.train.txt` and so on; each may be packed with xz (`.txt.xz`).
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
_NAMED = {"ptb": "ptb", "gutenberg": "gutenberg-lm"}
"""Folders of corpora by name."""
PARTS = ("train", "valid", "test")
_PATTERNS = ("{}.txt", "ptb.{}.txt")
_NAMED_IN_ERRORS = 20
"""Files of a folder that an error lists."""
_PIECE = re.compile(r"[a-z]+|[0-9]+|[^\sa-z0-9]")


@dataclass(frozen=True)
class Corpus:
    """Three texts, one sentence or paragraph a line, tokens separated by spaces."""

    train: str
    valid: str
    test: str


def load_corpus(name: str) -> Corpus:
    """Loads a corpus by name or folder.

    Args:
        name: `pydoc`, `ptb`, `gutenberg`, or the path of a folder.

    Raises:
        FileNotFoundError: with the files that were expected, and those that are there.
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
    folder = Path(name)
    if name in _NAMED:
        data = TrainingSettings().data
        if data is None:
            raise FileNotFoundError(
                f"the corpus '{name}' is looked for below ISS_DATA, which is not set"
            )
        folder = data / _NAMED[name]
    return Corpus(*(_read(path) for path in _files_of(folder)))


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


def _files_of(folder: Path) -> list[Path]:
    """The files of the three parts.

    Raises:
        FileNotFoundError: when there is no such folder, or it lacks one; it says what is there.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise FileNotFoundError(
            f"the corpus {folder} {what}; the name of a corpus ({', '.join(('pydoc', *_NAMED))}) "
            f"or a folder with {_expected(_PATTERNS[0])} is expected"
        )
    found = {
        pattern: [_there(folder / pattern.format(part)) for part in PARTS] for pattern in _PATTERNS
    }
    for files in found.values():
        if None not in files:
            return [path for path in files if path is not None]
    pattern = max(_PATTERNS, key=lambda each: sum(path is not None for path in found[each]))
    missing = [
        pattern.format(part)
        for part, path in zip(PARTS, found[pattern], strict=True)
        if path is None
    ]
    names = sorted(path.name for path in folder.iterdir())
    used = {path.name for path in found[pattern] if path is not None}
    others = [name for name in names if name not in used]
    shown = ", ".join(others[:_NAMED_IN_ERRORS]) or "nothing else"
    more = len(others) - _NAMED_IN_ERRORS
    raise FileNotFoundError(
        f"the corpus {folder} lacks {', '.join(missing)}; {_expected(pattern)} are expected, each "
        "as it is or packed (.txt.xz), with one sentence a line and spaces between tokens. "
        + (f"Found: {', '.join(sorted(used))}. " if used else "")
        + f"Not read: {shown}{f' and {more} more' if more > 0 else ''}"
    )


def _expected(pattern: str) -> str:
    return " and ".join(
        (", ".join(pattern.format(part) for part in PARTS[:-1]), pattern.format(PARTS[-1]))
    )


def _there(path: Path) -> Path | None:
    """The file, or the packed one beside it; None when there is neither."""
    packed = path.with_name(path.name + ".xz")
    return path if path.is_file() else packed if packed.is_file() else None


def _read(path: Path) -> str:
    if path.suffix == ".xz":
        with lzma.open(path, "rt", encoding="utf-8") as file:
            return file.read()
    return path.read_text(encoding="utf-8")
