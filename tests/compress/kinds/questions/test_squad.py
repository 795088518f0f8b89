"""SQuAD's files, and their answers among the tokens: on synthetic cases, and on the data set."""

from __future__ import annotations

import json
import lzma
import os
from collections import Counter
from pathlib import Path

import pytest

from isslim.compress.errors import UnreadableUpload
from isslim.compress.kinds.questions.squad import (
    Answer,
    Unrecovered,
    parse_squad,
    read_squad,
    recover,
)
from isslim.runtime.questions.question_tokenizer import tokenize

DOCUMENT = {
    "version": "1.1",
    "data": [
        {
            "title": "T",
            "paragraphs": [
                {
                    "context": "Born in 1999.",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "When?",
                            "answers": [{"text": "1999", "answer_start": 8}],
                        },
                        {"id": "q2", "question": "Where?"},
                    ],
                }
            ],
        }
    ],
}


def test_files_are_read_in_order_plain_or_compressed(tmp_path: Path) -> None:
    content = json.dumps(DOCUMENT).encode()
    (tmp_path / "a.json").write_bytes(content)
    (tmp_path / "b.json.xz").write_bytes(lzma.compress(content.replace(b"q1", b"q3")))
    found = read_squad([tmp_path / "a.json", tmp_path / "b.json.xz"])
    assert [question.id for paragraph in found for question in paragraph.questions] == [
        "q1",
        "q2",
        "q3",
        "q2",
    ]
    assert found[0].context == "Born in 1999."
    assert [question.answers for question in found[0].questions] == [(Answer("1999", 8),), ()]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "not in the form"),
        (b'{"data": [{"paragraphs": [{"qas": []}]}]}', "not in the form"),
        (b'{"data": [{"paragraphs": [{"context": 1, "qas": []}]}]}', "not in the form"),
        (
            b'{"data": [{"paragraphs": [{"context": "a", "qas": [{"id": "1"}]}]}]}',
            "not in the form",
        ),
        (b'{"data": [{"paragraphs": [{"context": "a", "qas": ["1"]}]}]}', "not in the form"),
    ],
)
def test_other_files_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(UnreadableUpload, match=said):
        parse_squad(content, "x.json")


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json.xz").write_bytes(lzma.compress(b"{}")[:-4])
    with pytest.raises(UnreadableUpload, match="cannot be decompressed"):
        read_squad([tmp_path / "a.json.xz"])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer("post-war", 4), (1, 3)),
        (Answer("war", 9), (3, 3)),
        (Answer(" 1990", 12), (4, 4)),
        (Answer("199", 13), Unrecovered.ENDS_INSIDE),
        (Answer("990s", 14), Unrecovered.STARTS_INSIDE),
        (Answer("war", 8), Unrecovered.ELSEWHERE),
        (Answer("war", -1), Unrecovered.ELSEWHERE),
        (Answer(" ", 12), Unrecovered.EMPTY),
    ],
)
def test_an_answer_is_a_span_of_tokens_or_has_a_reason_why_not(
    answer: Answer, expected: tuple[int, int] | Unrecovered
) -> None:
    context = "the post-war 1990s"
    assert recover(context, tokenize(context), answer) == expected


@pytest.mark.skipif("ISS_DATA" not in os.environ, reason="ISS_DATA is not set: SQuAD is not there")
def test_every_golden_answer_at_hand_is_recovered_or_counted() -> None:
    folder = Path(os.environ["ISS_DATA"]) / "squad-v1.1"
    files = sorted(folder.glob("*.json*"))
    if not files:
        pytest.skip(f"{folder} holds no SQuAD file")
    answers, questions, lost = 0, 0, Counter[Unrecovered]()
    for paragraph in read_squad(files):
        tokens = tokenize(paragraph.context)
        for question in paragraph.questions:
            questions += 1
            for answer in question.answers:
                answers += 1
                span = recover(paragraph.context, tokens, answer)
                if isinstance(span, Unrecovered):
                    lost[span] += 1
                else:
                    text = paragraph.context[tokens[span[0]].start : tokens[span[1]].end]
                    assert text == answer.text.strip(), question.id
    assert questions > 0
    assert lost[Unrecovered.ELSEWHERE] == 0
    assert lost.total() < 0.005 * answers, lost
