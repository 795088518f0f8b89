"""Recognises vocabularies of subwords by the marks of the tools that make them.

A list of subwords does not define how words are cut; the refusal shows how to make tokenizer.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isslim.compress.errors import VocabularyMismatch
from isslim.compress.kinds.language.ingest.special_tokens import special


@dataclass(frozen=True)
class Mark:
    """How a tool marks subwords.

    Attributes:
        text: the mark.
        before: whether it is a prefix, and not a suffix.
        tool: the name of the tool.
        remedy: lines of code that make a tokenizer.json.
    """

    text: str
    before: bool
    tool: str
    remedy: str


_TOKENIZERS = "`pip install tokenizers`, then in Python `from tokenizers import {0}` and "
MARKS = (
    Mark("##", True, "WordPiece", _TOKENIZERS.format("BertWordPieceTokenizer")
         + "`BertWordPieceTokenizer('vocab.txt').save('tokenizer.json')`"),
    Mark("Ġ", True, "GPT-2 (byte-level BPE)", _TOKENIZERS.format("ByteLevelBPETokenizer")
         + "`ByteLevelBPETokenizer('vocab.json', 'merges.txt').save('tokenizer.json')`"),
    Mark("Ċ", True, "GPT-2 (byte-level BPE)", _TOKENIZERS.format("ByteLevelBPETokenizer")
         + "`ByteLevelBPETokenizer('vocab.json', 'merges.txt').save('tokenizer.json')`"),
    Mark("▁", True, "SentencePiece", _TOKENIZERS.format("SentencePieceUnigramTokenizer")
         + "`SentencePieceUnigramTokenizer.from_spm('spm.model').save('tokenizer.json')` (needs "
           "protobuf)"),
    Mark("</w>", False, "BPE", _TOKENIZERS.format("CharBPETokenizer")
         + "`CharBPETokenizer('vocab.json', 'merges.txt').save('tokenizer.json')`"),
    Mark("@@", False, "subword-nmt", _TOKENIZERS.format("Tokenizer, models")
         + "`Tokenizer(models.BPE(vocab, merges)).save('tokenizer.json')`; or, where every text "
           "that you send is cut already, "
         'say so: the recipe {"unit": "word"}'),
    Mark("_", False, "tensor2tensor", "save one with `tokenizers`"),
    Mark("￭", True, "OpenNMT", "save one with `tokenizers`"),
    Mark("￭", False, "OpenNMT", "save one with `tokenizers`"),
)  # fmt: skip
SENTENCEPIECE = next(mark for mark in MARKS if mark.tool == "SentencePiece")


def mark_of(token: str) -> Mark | None:
    """The mark of a subword; None for a whole word.

    A token that consists of nothing but the mark is a whole word (except SentencePiece's space),
    and so is a special one that begins and ends alike, such as `@@UNKNOWN@@`.
    """
    if special(token) is not None and token[:1] == token[-1:]:
        return None
    for mark in MARKS:
        fits = token.startswith(mark.text) if mark.before else token.endswith(mark.text)
        if mark.text == "_" and token.startswith("_"):  # `__init__`
            continue
        if fits and (len(token) > len(mark.text) or mark is SENTENCEPIECE):
            return mark
    return None


def as_text(token: str) -> str:
    """The text of a token, without its mark."""
    mark = mark_of(token)
    if mark is None:
        return token
    return token.removeprefix(mark.text) if mark.before else token.removesuffix(mark.text)


def refuse_subwords(marked: Sequence[str], size: int) -> None:
    """Refuses a list of subwords, which comes without the rules that cut words into them.

    Args:
        marked: the tokens with a mark, at least one.
        size: of the vocabulary.

    Raises:
        VocabularyMismatch: with the tool and the lines that make a tokenizer.json.
    """
    mark = mark_of(marked[0]) or MARKS[0]
    examples = ", ".join(map(repr, marked[:3]))
    raise VocabularyMismatch(
        f"{len(marked):,} of the vocabulary's {size:,} tokens are parts of words as {mark.tool} "
        f"marks them ({examples}), and a "
        "list of them does not say how words are cut. Send tokenizer.json in its place: "
        f"{mark.remedy}"
    )
