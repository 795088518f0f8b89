"""Strategies for JSON and lists of words: well formed, and not what a reader expects."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from benchmarks.fuzz.mutations import TEXTS, places

_NUMBERS = st.integers(-(2**70), 2**70) | st.sampled_from((0, 1, -1, 2**31, 2**53, 2**63, 2**64))
_ODD_TEXTS = st.sampled_from(TEXTS) | st.text(max_size=12)
TREES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.floats() | _ODD_TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
"""Any values of JSON."""
_CHANGES = ("replace", "replace", "move", "remove", "rename", "repeat")


@st.composite
def changed(draw: st.DrawFn, document: Any, values: st.SearchStrategy[Any] = TREES) -> Any:
    """A document with one to three of its values changed.

    Args:
        draw: of the strategy.
        document: a good one, which stays as it is.
        values: in place of its own.
    """
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        there = places(document)
        if not there:
            document = draw(values)
            continue
        holder, key = draw(st.sampled_from(there))
        change = draw(st.sampled_from(_CHANGES))
        if change == "replace":
            holder[key] = draw(values)
        elif change == "move":
            other, name = draw(st.sampled_from(there))
            holder[key] = copy.deepcopy(other[name])
        elif change == "remove":
            del holder[key]
        elif change == "rename" and isinstance(holder, dict):
            names = [name for where, name in there if isinstance(where, dict)]
            holder[draw(st.sampled_from(names) | _ODD_TEXTS)] = holder.pop(key)
        else:
            holder[key] = [holder[key]] * draw(st.integers(1, 40))
    return document


@st.composite
def json_files(draw: st.DrawFn, good: Sequence[bytes]) -> bytes:
    """Changed documents, and some of no known form, in several encodings.

    Args:
        draw: of the strategy.
        good: files.
    """
    whole = draw(st.sampled_from(good))
    document = draw(changed(json.loads(whole)) | changed(json.loads(whole)) | TREES)
    plain = json.dumps(document)
    written = draw(st.sampled_from(("plain", "plain", "plain", "letters", "utf-16", "mark", "cut")))
    if written == "letters":
        text = json.dumps(document, ensure_ascii=False, indent=1)
        return text.encode(errors="surrogatepass")
    if written == "cut":
        return plain[: draw(st.integers(0, len(plain)))].encode()
    return plain.encode({"plain": "utf-8", "utf-16": "utf-16", "mark": "utf-8-sig"}[written])


@st.composite
def word_lists(draw: st.DrawFn, words: Sequence[str]) -> bytes:
    """Lines of words, of which some are there twice, empty, long, numbered, or none at all.

    Args:
        draw: of the strategy.
        words: good ones.
    """
    lines = list(words)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines)))
        line = draw(st.sampled_from([*words, *TEXTS]) | st.text(max_size=20))
        lines[at : at + draw(st.integers(0, 2))] = [line] * draw(st.integers(1, 3))
    numbers = draw(st.sampled_from(("", " ", "\t", ",")))
    if numbers:
        first = draw(st.integers(-2, 3))
        lines = [f"{line}{numbers}{first + index}" for index, line in enumerate(lines)]
    end = draw(st.sampled_from(("\n", "\r\n", "\r", "\0", "\u2028")))
    encoding = draw(st.sampled_from(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16-le")))
    return end.join(lines).encode(encoding, errors="surrogatepass")
