"""Reads SQuAD v1.1 in its public JSON form, and finds its answers among the tokens of a context.

The files are those of the data set (Rajpurkar et al., arXiv 1606.05250): `data[] -> paragraphs[] ->
context, qas[] -> id, question, answers[] -> text, answer_start` in characters. They may be
compressed with xz. A text of tokens that are joined by spaces is read like any other.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from isslim.compress.errors import UnreadableUpload
from isslim.runtime.questions.question_tokenizer import Token

_XZ = b"\xfd7zXZ\x00"


@dataclass(frozen=True)
class Answer:
    """A golden answer, and the position of its first character in the context."""

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question and its golden answers, if it has any."""

    id: str
    text: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Paragraph:
    """A context and its questions."""

    context: str
    questions: tuple[Question, ...]


class Unrecovered(StrEnum):
    """Why an answer is no span of tokens."""

    EMPTY = "the answer is empty"
    ELSEWHERE = "the answer's text is not at its offset"
    STARTS_INSIDE = "the answer starts inside a token"
    ENDS_INSIDE = "the answer ends inside a token"


def read_squad(paths: Iterable[Path]) -> list[Paragraph]:
    """Reads the paragraphs of several files, in order.

    Raises:
        UnreadableUpload: when a file is not JSON, or not in the form of SQuAD v1.1; the issues say
            where.
        OSError: when a file does not exist.
    """
    return [paragraph for path in paths for paragraph in parse_squad(unpacked(path), path.name)]


def unpacked(path: Path) -> bytes:
    """A file's bytes, decompressed where it is an xz file.

    Raises:
        UnreadableUpload: when it cannot be decompressed.
        OSError: when it does not exist.
    """
    content = path.read_bytes()
    if not content.startswith(_XZ):
        return content
    try:
        return lzma.decompress(content)
    except lzma.LZMAError as error:
        raise UnreadableUpload(f"'{path.name}' cannot be decompressed: {error}") from error


def parse_squad(content: bytes, name: str) -> list[Paragraph]:
    """Reads the paragraphs of one file's content.

    Args:
        content: JSON.
        name: of the file, for messages.

    Raises:
        UnreadableUpload: see `read_squad`.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableUpload(f"'{name}' is not JSON: {error}") from error
    paragraphs: list[Paragraph] = []
    place = ""
    try:
        for article_index, article in enumerate(document["data"]):
            for index, paragraph in enumerate(article["paragraphs"]):
                place = f"data[{article_index}].paragraphs[{index}]"
                questions = tuple(_question(each) for each in paragraph["qas"])
                paragraphs.append(Paragraph(_text(paragraph["context"]), questions))
    except (KeyError, TypeError, IndexError, ValueError, OverflowError) as error:
        raise UnreadableUpload(
            f"'{name}' is not in the form of SQuAD v1.1",
            [f"at or behind {place or 'the top'}: {error!r}"],
        ) from error
    return paragraphs


def recover(context: str, tokens: Sequence[Token], answer: Answer) -> tuple[int, int] | Unrecovered:
    """Finds the tokens of an answer.

    Args:
        context: the text of the answer.
        tokens: of the context, in order.
        answer: white space at its ends is ignored.

    Returns:
        Positions of the answer's first and last token, or the reason why it is no span of tokens.
    """
    start, end = answer.start, answer.start + len(answer.text)
    if not answer.text.strip():
        return Unrecovered.EMPTY
    if start < 0 or context[start:end] != answer.text:
        return Unrecovered.ELSEWHERE
    start += len(answer.text) - len(answer.text.lstrip())
    end -= len(answer.text) - len(answer.text.rstrip())
    first = next((index for index, token in enumerate(tokens) if token.start == start), None)
    last = next((index for index, token in enumerate(tokens) if token.end == end), None)
    if first is None:
        return Unrecovered.STARTS_INSIDE
    return Unrecovered.ENDS_INSIDE if last is None else (first, last)


def _question(record: Any) -> Question:
    # First, since these look-ups fail on anything but an object, which has `get`.
    name, text = _text(record["id"]), _text(record["question"])
    answers = tuple(
        Answer(_text(each["text"]), int(each["answer_start"])) for each in record.get("answers", ())
    )
    return Question(name, text, answers)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} where a text is expected")
    return value
