"""Vocabularies in all their forms, and their refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from compress.errors import UnreadableUpload, VocabularyMismatch
from compress.ingest.layouts import Ingested, read_model
from compress.ingest.vocabulary import read_tokenizer
from compress.networks.lstm import LstmLanguageModel, LstmSpec
from runtime.text import TextCodec
from store.manifest import Recipe

WORDS = ["<eos>", "<unk>", "a", "cat", "sees"]


def ingested(size: int, vocabulary: list[str] | None = None) -> Ingested:
    return Ingested(LstmLanguageModel(LstmSpec(size, 4, (4,))), "test", vocabulary)


def codec(path: Path | None, size: int, recipe: Recipe | None = None, known: list[str] | None = None) -> TextCodec:
    return TextCodec(*read_tokenizer(path, ingested(size, known), recipe or Recipe()))


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(WORDS) + "\n",
        "\r\n".join(WORDS),
        json.dumps(WORDS),
        json.dumps({word: index for index, word in enumerate(WORDS)}),
    ],
    ids=["lines", "dos lines", "list", "dictionary"],
)
def test_word_lists(text: str, tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_bytes(text.encode())
    made = codec(path, 5)
    assert made.encode("a cat\nsees dogs") == [2, 3, 0, 4, 1]
    assert (made.start_id, made.unknown_id, made.contract.unit) == (0, 1, "word")


def test_character_lists(tmp_path: Path) -> None:
    for text in ("a\nb\n\\n\n\\s\n", json.dumps(["a", "b", "\n", " "]), json.dumps("ab\n ")):
        path = tmp_path / "characters"
        path.write_text(text)
        made = codec(path, 4)
        assert made.encode("ab\nb a") == [0, 1, 2, 1, 3, 0]
        assert (made.contract.unit, made.start_id) == ("character", 2)


def test_vocabulary_inside_the_checkpoint(tmp_path: Path) -> None:
    network = LstmLanguageModel(LstmSpec(5, 4, (4,)))
    state = {name.replace("layers.0", "lstm"): value for name, value in network.state_dict().items()}
    torch.save(
        {"model_state_dict": state, "stoi": {word: index for index, word in enumerate(WORDS)}}, tmp_path / "m.pt"
    )
    found = read_model(tmp_path / "m.pt", None)
    assert found.vocabulary == WORDS
    assert codec(None, 5, known=found.vocabulary).encode("cat") == [3]


def test_tokenizer_json(tmp_path: Path) -> None:
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    assert codec(tmp_path / "tokenizer.json", 5).encode("cat sees") == [3, 4]
    with pytest.raises(VocabularyMismatch, match="5 tokens, the model's embedding 6"):
        codec(tmp_path / "tokenizer.json", 6)


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text("\n".join(WORDS))
    with pytest.raises(VocabularyMismatch, match="5 tokens, the model's embedding 7"):
        codec(path, 7)
    with pytest.raises(VocabularyMismatch, match="no vocabulary says which"):
        codec(None, 7)
    with pytest.raises(VocabularyMismatch, match="start token"):
        codec(path, 5, Recipe(start_token="<go>"))
    path.write_text("\n".join([*WORDS[:4], "a"]))
    with pytest.raises(UnreadableUpload, match="twice"):
        codec(path, 5)
    path.write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(UnreadableUpload, match="UTF-8"):
        codec(path, 5)
    path.write_text('{"a": 0, "b": 2}')
    with pytest.raises(UnreadableUpload, match="without a gap"):
        codec(path, 5)
