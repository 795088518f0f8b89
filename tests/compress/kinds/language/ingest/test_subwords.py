"""Subwords by the marks of the tools that make them."""

from __future__ import annotations

import pytest

from isslim.compress.errors import VocabularyMismatch
from isslim.compress.kinds.language.ingest.subwords import as_text, mark_of, refuse_subwords


@pytest.mark.parametrize(
    ("token", "tool", "text"),
    [
        ("##ing", "WordPiece", "ing"),
        ("Ġthe", "GPT-2 (byte-level BPE)", "the"),
        ("▁the", "SentencePiece", "the"),
        ("▁", "SentencePiece", ""),
        ("low</w>", "BPE", "low"),
        ("ne@@", "subword-nmt", "ne"),
        ("the_", "tensor2tensor", "the"),
        ("￭s", "OpenNMT", "s"),
        ("s￭", "OpenNMT", "s"),
    ],
)
def test_a_mark_shows_its_tool_and_is_not_part_of_the_text(
    token: str, tool: str, text: str
) -> None:
    mark = mark_of(token)
    assert mark is not None
    assert mark.tool == tool
    assert as_text(token) == text


@pytest.mark.parametrize("token", ["the", "Ġ", "##", "@@", "__init__", "_private", "@@UNKNOWN@@"])
def test_whole_words_have_no_mark(token: str) -> None:
    assert mark_of(token) is None
    assert as_text(token) == token


def test_refusal_shows_how_to_make_a_tokenizer() -> None:
    with pytest.raises(VocabularyMismatch, match="3 of the vocabulary's 8,000 tokens") as refused:
        refuse_subwords(["##ing", "##ed", "##s"], 8000)
    assert "as WordPiece marks them ('##ing', '##ed', '##s')" in str(refused.value)
    assert "BertWordPieceTokenizer('vocab.txt').save('tokenizer.json')" in str(refused.value)
