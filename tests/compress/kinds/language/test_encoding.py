"""A file that is read in pieces has the tokens of the whole text."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from isslim.compress.kinds.language import encoding
from isslim.compress.kinds.language.encoding import LONGEST, PIECE, encode_file
from isslim.runtime.errors import TextRefused
from isslim.runtime.language.text import TextCodec, character_tokenizer, word_tokenizer
from isslim.types.manifest import TextContract

LINE = "the cat\u2003sees  é\u0301\r\n\ta dog 🙂, no bird\n\n it\nis "
WHOLE = LINE * (3 * PIECE // len(LINE))


def codec(unit: Literal["word", "character", "subword"]) -> TextCodec:
    if unit == "word":
        made = word_tokenizer(
            ["<unk>", "<eos>", "the", "cat", "sees", "a", "dog"], "<unk>", "<eos>"
        )
    elif unit == "character":
        made = character_tokenizer(["<unk>", *sorted(set(LINE))[:-2]], "<unk>")
    else:
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=300, initial_alphabet=alphabet, show_progress=False
        )
        made.train_from_iterator([LINE], trainer)
    contract = TextContract(
        unit=unit,
        vocabulary=made.get_vocab_size(),
        start_token=None,
        unknown_token=None if unit == "subword" else "<unk>",
        newline_token="<eos>" if unit == "word" else None,
    )
    return TextCodec(made, contract)


@pytest.mark.parametrize("unit", ["word", "character", "subword"])
def test_pieces_have_the_tokens_of_the_whole(
    unit: Literal["word", "character", "subword"], tmp_path: Path
) -> None:
    path, own = tmp_path / "text.txt", codec(unit)
    path.write_bytes(b"\xef\xbb\xbf" + WHOLE.encode())
    assert len(WHOLE) > 2 * PIECE
    assert encode_file(own, path).tolist() == own.encode(WHOLE.replace("\r\n", "\n"))


def test_a_word_without_end_is_refused_and_characters_are_not(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("c" * (LONGEST + PIECE))
    with pytest.raises(TextRefused, match="without white space"):
        encode_file(codec("word"), path)
    assert len(encode_file(codec("character"), path)) == LONGEST + PIECE
    assert len(encode_file(codec("subword"), path)) > 0


def test_texts_of_nothing_known_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    for text, words in (
        ("", "no token"),
        ("zebra giraffe", "of the vocabulary"),
        ("the\0cat", "NUL"),
    ):
        path.write_text(text)
        with pytest.raises(TextRefused, match=words):
            encode_file(codec("word"), path)


def test_a_text_of_too_many_tokens_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as there are too many: a text by characters has as many as it has bytes."""
    path, own = tmp_path / "text.txt", codec("character")
    path.write_text(LINE * 100)
    whole = len(encode_file(own, path))
    monkeypatch.setattr(encoding, "MOST_TOKENS", whole)
    assert len(encode_file(own, path)) == whole
    monkeypatch.setattr(encoding, "MOST_TOKENS", whole - 1)
    with pytest.raises(TextRefused, match=f"more than {whole - 1:,} tokens.*send a part"):
        encode_file(own, path)
