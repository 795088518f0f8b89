"""Texts, token ids and vocabularies of a caller as files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from isslim.compress.errors import ArgumentsRefused
from isslim.compress.kinds.language.ingest.vocabulary import unit_of
from isslim.types.recipe import Recipe

_TEXT = "a text (str), a Path, or its ids as integers in one dimension is expected"


def text_file(
    value: Any, path: Path, name: str, tokens: Sequence[str] | None, recipe: Recipe
) -> Path:
    """A text, or the text of ids, as a file.

    Args:
        value: a text, or ids as integers.
        path: of the file to write.
        name: of the argument, for errors.
        tokens: by id; None: not known here, so that ids cannot be read.
        recipe: its `unit` says what a token is.

    Raises:
        ArgumentsRefused: when it is neither, or no text gives these ids.
    """
    if isinstance(value, str):
        # A name of a file would be read as a text of a word or two.
        if _is_name(value):
            what = "is the name of" if Path(value).is_file() else "looks like the path of"
            raise ArgumentsRefused(
                f"`{name}` {what} a file: give `Path({value!r})`; a str is the text itself"
            )
        path.write_text(value, encoding="utf-8")
        return path
    ids = _ids(value, name)
    if tokens is None:
        raise ArgumentsRefused(
            f"`{name}` holds ids: give `vocabulary` as a list of the tokens in the order of their "
            "ids"
        )
    path.write_text(_text(ids, tokens, name, recipe), encoding="utf-8")
    return path


def vocabulary_file(value: Any, path: Path, name: str) -> Path:
    """A vocabulary as a file.

    Args:
        value: a path, or tokens by id.
        path: of the file to write.
        name: of the argument, for errors.

    Raises:
        ArgumentsRefused: when it is neither.
    """
    if isinstance(value, str | PathLike):
        if not Path(value).is_file():
            raise ArgumentsRefused(f"`{name}`: there is no file {value}")
        return Path(value)
    if not isinstance(value, Sequence) or not all(isinstance(each, str) for each in value):
        raise ArgumentsRefused(
            f"`{name}` is a {type(value).__name__}: a list of texts in the order of their ids, or "
            "a path is expected"
        )
    path.write_text(json.dumps(list(value)), encoding="utf-8")
    return path


def _is_name(value: str) -> bool:
    """Whether a text is the name of a file, or has the form of one: `train.txt`, `data/train`."""
    if "\n" in value or len(value) >= 1000:
        return False
    looks = re.fullmatch(r"\S*(/\S+|\w\.(txt|json|npz|tokens))", value) is not None
    try:
        return looks or Path(value).is_file()
    except OSError:  # too long for the file system
        return False


def _ids(value: Any, name: str) -> NDArray[np.int64]:
    try:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # parts of different shapes and types
        raise ArgumentsRefused(
            f"`{name}` is a {type(value).__name__} that is no array: {_TEXT}; calls are recorded "
            "of a module that is given without `vocabulary`"
        ) from error
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ArgumentsRefused(
            f"`{name}` is a {type(value).__name__} of {array.dtype}, shape {list(array.shape)}: "
            f"{_TEXT}"
        )
    return array.astype(np.int64)


def _text(ids: NDArray[np.int64], tokens: Sequence[str], name: str, recipe: Recipe) -> str:
    """The text whose tokens are the ids."""
    used = np.unique(ids)
    if len(used) and not 0 <= used[0] <= used[-1] < len(tokens):
        wrong = used[0] if used[0] < 0 else used[-1]
        raise ArgumentsRefused(
            f"`{name}` holds the id {wrong}; the vocabulary has {len(tokens):,} tokens"
        )
    characters = unit_of(recipe, tokens) == "character"
    # No text gives such a token: it would be read as others.
    torn = [
        tokens[each]
        for each in used
        if (len(tokens[each]) != 1 if characters else tokens[each].split() != [tokens[each]])
    ]
    if torn:
        what = "characters" if characters else "words"
        raise ArgumentsRefused(
            f"`{name}` holds the token {torn[0]!r}, which no text of {what} gives: give the text "
            "itself",
            [repr(token) for token in torn[:20]],
        )
    return ("" if characters else " ").join(tokens[each] for each in ids)
