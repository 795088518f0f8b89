"""Vocabularies in all their forms, and their refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from compress.errors import UnreadableUpload, VocabularyMismatch
from compress.ingest.layouts import Ingested, read_model
from compress.ingest.reading import Reading
from compress.ingest.vocabulary import read_tokenizer
from compress.networks.lstm import LstmLanguageModel, LstmSpec
from runtime.errors import TextRefused
from runtime.text import TextCodec
from store.recipe import Recipe

WORDS = ["<eos>", "<unk>", "a", "cat", "sees"]


def ingested(size: int, vocabulary: list[str] | None = None) -> Ingested:
    return Ingested(
        LstmLanguageModel(LstmSpec(size, 4, (4,))), Reading("test"), {} if vocabulary is None else {"vocab": vocabulary}
    )


def codec(path: Path | None, size: int, recipe: Recipe | None = None, known: list[str] | None = None) -> TextCodec:
    return TextCodec(*read_tokenizer(path, ingested(size, known), recipe or Recipe()))


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(WORDS) + "\n",
        "\r\n".join(WORDS),
        json.dumps(WORDS),
        json.dumps({word: index for index, word in enumerate(WORDS)}),
        json.dumps(dict(enumerate(WORDS))),
    ],
    ids=["lines", "dos lines", "list", "dictionary", "dictionary of ids"],
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
    assert found.vocabularies == {"stoi": WORDS}
    assert TextCodec(*read_tokenizer(None, found, Recipe())).encode("cat") == [3]


def test_tokenizer_json(tmp_path: Path) -> None:
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    assert codec(tmp_path / "tokenizer.json", 5).encode("cat sees") == [3, 4]
    with pytest.raises(VocabularyMismatch, match="5 tokens, the model's embedding 6"):
        codec(tmp_path / "tokenizer.json", 6)


def test_word_model_in_a_dictionary_makes_it_no_tokenizer_json(tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    path.write_text(json.dumps({"<unk>": 0, "model": 1, "a": 2}))
    assert codec(path, 3).encode("a model") == [2, 1]


def ready_made(model: models.Model, tmp_path: Path) -> Path:
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.enable_truncation(4)
    made.enable_padding(length=4, pad_id=0, pad_token="a")
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_tokenizer_json_neither_cuts_nor_pads_a_text(tmp_path: Path) -> None:
    path = ready_made(models.WordLevel({"a": 0, "cat": 1, "[UNK]": 2, "<unk>": 3}, unk_token="<unk>"), tmp_path)
    made = codec(path, 4)
    assert made.encode("cat a cat a cat a cat") == [1, 0, 1, 0, 1, 0, 1]
    assert made.encode("cat") == [1]
    assert made.contract.unit == "word"
    assert made.decode([1, 0]) == "cat a"
    assert made.contract.unknown_token == "<unk>"  # its own, though [UNK] stands before it
    assert made.encode("dog cat") == [3, 1]


def test_tokenizer_json_without_its_unknown_token_refuses_unknown_words_by_name(tmp_path: Path) -> None:
    for missing in ("[UNK]", "nowhere"):
        made = codec(ready_made(models.WordLevel({"a": 0, "<unk>": 1, "cat": 2}, unk_token=missing), tmp_path), 3)
        assert made.contract.unknown_token is None
        assert made.encode("a cat") == [0, 2]
        with pytest.raises(TextRefused, match="zebra"):
            made.encode("a zebra cat")
    made = codec(ready_made(models.WordPiece({"a": 0, "cat": 1, "##s": 2}, unk_token="[UNK]"), tmp_path), 3)
    assert (made.contract.unit, made.encode("cats a")) == ("subword", [1, 2, 0])
    with pytest.raises(TextRefused, match="no token for unknown"):
        made.encode("zebra")


def test_unigram_names_its_unknown_token_by_position(tmp_path: Path) -> None:
    made = codec(ready_made(models.Unigram([("odd", 0.0), ("cat", -1.0), ("s", -2.0)], unk_id=0), tmp_path), 3)
    assert (made.contract.unknown_token, made.contract.unit) == ("odd", "subword")


def test_text_starts_with_an_explicit_start_token(tmp_path: Path) -> None:
    for tokens, start in (("<eos> <bos> a", "<bos>"), ("</s> <s> a", "<s>"), ("<eos> </s> a", "<eos>"), ("a b", None)):
        (tmp_path / "words").write_text("\n".join(tokens.split()))
        assert codec(tmp_path / "words", len(tokens.split())).contract.start_token == start


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
    for text in ('{"a": 0, "b": 2}', '{"0": "a", "2": "b"}', '{"a": true, "b": false}', '{"a": "b"}', '{"a": 1.5}'):
        path.write_text(text)
        with pytest.raises(UnreadableUpload, match=r"\{token: id\} or \{id: token\}.*without a gap"):
            codec(path, 5)
