"""Vocabularies in all their forms, and their refusals."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from isslim.compress.errors import UnreadableUpload, VocabularyMismatch
from isslim.compress.ingest.reading import IngestReport
from isslim.compress.kinds.language.ingest.layouts import Ingested, read_model
from isslim.compress.kinds.language.ingest.uploaded_form import UploadedForm
from isslim.compress.kinds.language.ingest.vocabulary import read_tokenizer
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.runtime.errors import TextRefused
from isslim.runtime.language.text import TextCodec
from isslim.types.recipe import Recipe

WORDS = ["<eos>", "<unk>", "a", "cat", "sees"]


def ingested(size: int, vocabulary: list[str] | None = None) -> Ingested:
    return Ingested(
        LstmLanguageModel(LstmSpec(size, 4, (4,))),
        IngestReport("test"),
        {} if vocabulary is None else {"vocab": vocabulary},
        UploadedForm({}, ()),
    )


def codec(
    path: Path | None, size: int, recipe: Recipe | None = None, known: list[str] | None = None
) -> TextCodec:
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
    state = {
        name.replace("layers.0", "lstm"): value for name, value in network.state_dict().items()
    }
    torch.save(
        {"model_state_dict": state, "stoi": {word: index for index, word in enumerate(WORDS)}},
        tmp_path / "m.pt",
    )
    found = read_model(tmp_path / "m.pt", None)
    assert found.vocabularies == {"stoi": WORDS}
    assert TextCodec(*read_tokenizer(None, found, Recipe())).encode("cat") == [3]


def test_tokenizer_json(tmp_path: Path) -> None:
    made = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>")
    )
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
    path = ready_made(
        models.WordLevel({"a": 0, "cat": 1, "[UNK]": 2, "<unk>": 3}, unk_token="<unk>"), tmp_path
    )
    made = codec(path, 4)
    assert made.encode("cat a cat a cat a cat") == [1, 0, 1, 0, 1, 0, 1]
    assert made.encode("cat") == [1]
    assert made.contract.unit == "word"
    assert made.decode([1, 0]) == "cat a"
    assert made.contract.unknown_token == "<unk>"  # its own, though [UNK] stands before it
    assert made.encode("dog cat") == [3, 1]


def test_tokenizer_json_without_its_unknown_token_refuses_unknown_words_by_name(
    tmp_path: Path,
) -> None:
    for missing in ("[UNK]", "nowhere"):
        made = codec(
            ready_made(
                models.WordLevel({"a": 0, "<unk>": 1, "cat": 2}, unk_token=missing), tmp_path
            ),
            3,
        )
        assert made.contract.unknown_token is None
        assert made.encode("a cat") == [0, 2]
        with pytest.raises(TextRefused, match="zebra"):
            made.encode("a zebra cat")
    made = codec(
        ready_made(models.WordPiece({"a": 0, "cat": 1, "##s": 2}, unk_token="[UNK]"), tmp_path), 3
    )
    assert (made.contract.unit, made.encode("cats a")) == ("subword", [1, 2, 0])
    with pytest.raises(TextRefused, match="no token for unknown"):
        made.encode("zebra")


def test_unigram_names_its_unknown_token_by_position(tmp_path: Path) -> None:
    made = codec(
        ready_made(models.Unigram([("odd", 0.0), ("cat", -1.0), ("s", -2.0)], unk_id=0), tmp_path),
        3,
    )
    assert (made.contract.unknown_token, made.contract.unit) == ("odd", "subword")


def test_text_starts_with_an_explicit_start_token(tmp_path: Path) -> None:
    for tokens, start in (
        ("<eos> <bos> a", "<bos>"),
        ("</s> <s> a", "<s>"),
        ("<eos> </s> a", "<eos>"),
        ("a b", None),
    ):
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
    for text in (
        '{"a": 0, "b": 2}',
        '{"0": "a", "2": "b"}',
        '{"a": true, "b": false}',
        '{"a": "b"}',
        '{"a": 1.5}',
    ):
        path.write_text(text)
        with pytest.raises(
            UnreadableUpload, match=r"\{token: id\} or \{id: token\}.*without a gap"
        ):
            codec(path, 5)


def written(tmp_path: Path, content: str | bytes | list[object] | dict[str, object]) -> Path:
    path = tmp_path / "vocabulary"
    data = content if isinstance(content, str | bytes) else json.dumps(content, ensure_ascii=False)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "##s", "##ing", "play", "."]
PARTS: list[tuple[str | list[object] | dict[str, object], int, str, str]] = [
    ("\n".join(BERT), 11, "WordPiece", "BertWordPieceTokenizer"),
    (
        {"<|endoftext|>": 0, "the": 1, "Ġcat": 2, "Ġsat": 3, "<unk>": 4},
        5,
        "GPT-2",
        "ByteLevelBPETokenizer",
    ),
    (["<unk>", "the", "ĊĊ", "a", "b"], 5, "GPT-2", "ByteLevelBPETokenizer"),
    ("<unk>\t0\n<s>\t0\n</s>\t0\n▁the\t-3.2\n▁cat\t-4.1\ns\t-5\n", 6, "SentencePiece", "from_spm"),
    ("<unk>\nth@@\ne\ncat\n", 4, "subword-nmt", "unit"),
    ("th@@ 120\ne 100\nca@@ 90\nt 3\n", 4, "subword-nmt", "unit"),
    ("<unk>\nthe</w>\nca\nt</w>\n", 4, "BPE", "CharBPETokenizer"),
    ("#version: 0.2\nt h\nth e</w>\n", 3, "merges", "tokenizer.json"),
    ("\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02", 3, "SentencePiece", "from_spm"),
]


@pytest.mark.parametrize(
    ("content", "size", "kind", "remedy"),
    PARTS,
    ids=[f"{each[2]}-{i}" for i, each in enumerate(PARTS)],
)
def test_parts_of_words_are_refused_by_kind(
    content: Any, size: int, kind: str, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(VocabularyMismatch, match=kind) as refused:
        codec(written(tmp_path, content), size)
    assert "tokenizer.json" in refused.value.detail
    assert remedy in refused.value.detail


def test_texts_that_are_already_cut_are_accepted_where_it_is_declared(tmp_path: Path) -> None:
    path = written(tmp_path, "<unk>\nth@@\ne\ncat\n")
    found = read_tokenizer(path, ingested(4), Recipe(unit="word"))
    assert TextCodec(*found).encode("th@@ e cat") == [1, 2, 3]
    assert found.assumed == ("texts come already cut into the 1 parts of words, such as 'th@@'",)


def test_tokens_that_no_text_gives_are_counted_and_refused_beyond_a_few(tmp_path: Path) -> None:
    words = [f"w{index}" for index in range(37)]
    found = read_tokenizer(
        written(tmp_path, [*words, "", "New York", "x\ty"]), ingested(40), Recipe()
    )
    assert found.assumed == ("no text gives 3 of the vocabulary's tokens, such as ''",)
    many = [f"New {word}" for word in words]
    with pytest.raises(
        VocabularyMismatch, match="37 of 37 lines of the vocabulary hold more than a token"
    ):
        codec(written(tmp_path, many), 37)
    tweets = ["##tag", *(f"w{index}" for index in range(999))]
    assert (
        "such as '##tag'"
        in read_tokenizer(written(tmp_path, tweets), ingested(1000), Recipe()).assumed[0]
    )


@pytest.mark.parametrize(
    "content",
    [
        "<unk> 0\n<eos> 1\nthe 2\ncat 3\n",
        "0\t<unk>\n1\t<eos>\n2\tthe\n3\tcat\n",
        "the 2\n<unk> 0\ncat 3\n<eos> 1\n",
        "<unk> 900\n<eos> 800\nthe 700\ncat 6\n",
        "<unk>,900\n<eos>,800\nthe,700\ncat,6\n",
        "\ufeff<unk>\n<eos>\nthe\ncat\n",
        "\ufeff" + json.dumps(["<unk>", "<eos>", "the", "cat"]),
        "<unk>\n<eos>\nthe\ncat\n\n\n",
        {
            "word2idx": {"<unk>": 0, "<eos>": 1, "the": 2, "cat": 3},
            "idx2word": ["<unk>", "<eos>", "the", "cat"],
        },
        {
            "stoi": {"<unk>": 0, "<eos>": 1, "the": 2, "cat": 3},
            "itos": ["<unk>", "<eos>", "the", "cat"],
        },
        {"tokens": ["<unk>", "<eos>", "the", "cat"]},
        {"vocab": {"token_to_idx": {"<unk>": 0, "<eos>": 1, "the": 2, "cat": 3}}},
        [["<unk>", 9], ["<eos>", 8], ["the", 7], ["cat", 1]],
    ],
    ids=range(13),
)
def test_lists_of_many_forms_are_read(content: Any, tmp_path: Path) -> None:
    made = codec(written(tmp_path, content), 4)
    assert made.encode("the cat\ndog") == [2, 3, 1, 0]
    assert made.contract.unknown_token == "<unk>"


def test_what_fairseq_and_keras_leave_out_is_put_back(tmp_path: Path) -> None:
    found = read_tokenizer(written(tmp_path, "the 900\ncat 6\n"), ingested(6), Recipe())
    assert TextCodec(*found).encode("the cat dog") == [4, 5, 3]
    assert "fairseq" in found.assumed[0]
    assert found.dropped == ("the numbers behind the vocabulary's tokens (counts or scores)",)
    keras = {"class_name": "Tokenizer", "config": {"word_index": json.dumps({"the": 1, "cat": 2})}}
    assert codec(written(tmp_path, keras), 3).encode("cat the") == [2, 1]
    with pytest.raises(UnreadableUpload, match="ids begin at 1"):
        codec(written(tmp_path, "the 1\ncat 2\n"), 2)


@pytest.mark.parametrize(
    ("tokens", "unknown", "start", "newline"),
    [
        ("<PAD> <UNK> <BOS> <EOS> at by", "<UNK>", "<BOS>", "<EOS>"),
        ("[PAD] [UNK] [BOS] [EOS] at by", "[UNK]", "[BOS]", "[EOS]"),
        ("<pad> <unknown> <start> <end> at by", "<unknown>", "<start>", "<end>"),
        ("PAD OOV SOS EOS at by", "OOV", "SOS", "EOS"),
        ("<|unk|> <|startoftext|> <|endoftext|> at by", "<|unk|>", "<|startoftext|>", None),
        ("_UNK _GO _EOS at by", "_UNK", "_GO", "_EOS"),
        ("<unk> <eol> <eos> unknown end a", "<unk>", "<eos>", "<eol>"),
        ("unknown end start a", None, None, None),
    ],
)
def test_special_tokens_of_other_names(
    tokens: str, unknown: str | None, start: str | None, newline: str | None, tmp_path: Path
) -> None:
    contract = codec(written(tmp_path, tokens.replace(" ", "\n")), len(tokens.split())).contract
    assert (contract.unknown_token, contract.start_token, contract.newline_token) == (
        unknown,
        start,
        newline,
    )


def test_special_tokens_make_no_words_of_characters(tmp_path: Path) -> None:
    assert (
        codec(written(tmp_path, ["<PAD>", "<Unk>", "a", "b", "_", "["]), 6).contract.unit
        == "character"
    )


def test_rows_beyond_the_vocabulary_are_padding_where_the_size_is_round(tmp_path: Path) -> None:
    words = ["<unk>", "<eos>", *(f"w{index}" for index in range(35))]
    found = read_tokenizer(written(tmp_path, words), ingested(40), Recipe())
    assert "the last 3 of the embedding's 40 rows are padding" in found.assumed[0]
    made = TextCodec(*found)
    assert made.encode("w34 <unused 37>") == [36, 0, 0]
    assert made.contract.vocabulary == 40
    for size in (39, 41, 128):
        with pytest.raises(VocabularyMismatch, match="37 tokens, the model's embedding"):
            codec(written(tmp_path, words), size)


def test_vocabularies_inside_checkpoints(tmp_path: Path) -> None:
    network = LstmLanguageModel(LstmSpec(5, 4, (4,)))
    state = {
        name.replace("layers.0", "lstm"): value for name, value in network.state_dict().items()
    }
    ids = {word: index for index, word in enumerate(WORDS)}
    for beside in (
        {"vocab": {"word2idx": ids, "idx2word": WORDS}},
        {"args": {"tokens": WORDS}},
        {"vocab": {"stoi": ids, "itos": WORDS}, "labels": {"itos": ["x", "y"]}},
        {"word2idx": ids, "idx2word": dict(enumerate(WORDS))},
        {"corpus": argparse.Namespace(dictionary=argparse.Namespace(idx2word=WORDS))},
    ):
        torch.save({"state_dict": state, **beside}, tmp_path / "m.pt")
        found = read_tokenizer(None, read_model(tmp_path / "m.pt", None), Recipe())
        assert TextCodec(*found).encode("a cat") == [2, 3]
        assert "the vocabulary is the file's own" in found.assumed[0]
    torch.save({"state_dict": state, "vocab": WORDS, "chars": WORDS[::-1]}, tmp_path / "m.pt")
    with pytest.raises(
        VocabularyMismatch, match="several vocabularies of 5 tokens that differ: 'vocab', 'chars'"
    ):
        read_tokenizer(None, read_model(tmp_path / "m.pt", None), Recipe())
    torch.save({"state_dict": state, "vocab": WORDS[::-1]}, tmp_path / "m.pt")
    found = read_tokenizer(
        written(tmp_path, "\n".join(WORDS)), read_model(tmp_path / "m.pt", None), Recipe()
    )
    assert "not the file's own 'vocab', which differs in 4 of 5 tokens" in found.assumed[0]


def test_one_token_twice_in_a_long_list_is_found_at_once(tmp_path: Path) -> None:
    words = [f"w{index}" for index in range(200_000)]
    words[-1] = "w7"
    path = written(tmp_path, "\n".join(words))
    before = time.thread_time()
    with pytest.raises(UnreadableUpload, match="1 tokens stand in the vocabulary twice"):
        codec(path, 200_000)
    assert (
        time.thread_time() - before < 20
    )  # it took over 90 s when each token was counted by itself


@pytest.mark.parametrize(
    "text",
    [
        "\r".join(WORDS),
        "".join(f"{word} \n" for word in WORDS),
        "".join(f"\t{word}\t\r\n" for word in WORDS),
        "".join(f'"{word}"\n' for word in WORDS),
        json.dumps({word: str(index) for index, word in enumerate(WORDS)}),
        "token,id\n" + "".join(f"{word},{index}\n" for index, word in enumerate(WORDS)),
    ],
    ids=["old Mac", "blanks behind", "tabs around", "quoted", "ids as text", "heading"],
)
def test_what_stands_around_tokens_is_no_part_of_them(text: str, tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_bytes(text.encode())
    assert codec(path, 5).encode("a cat\nsees dogs") == [2, 3, 0, 4, 1]


def test_a_blank_before_some_tokens_is_theirs(tmp_path: Path) -> None:
    """A list of GPT-2's tokens as text."""
    with pytest.raises(VocabularyMismatch, match="do not come back"):
        codec(written(tmp_path, "<unk>\nthe\n cat\n sat\ns\n"), 5)


def test_a_newline_that_was_written_as_it_is_is_one_token(tmp_path: Path) -> None:
    assert codec(written(tmp_path, "a\n\n\nb\n \n"), 4).encode("ab\na") == [0, 2, 1, 0]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "the vocabulary is empty"),
        ("\n".join(WORDS).encode("utf-16-le"), "NUL characters"),
        ("caf\u00e9\nthe\n".encode("latin-1"), "Save it as UTF-8"),
        (json.dumps(WORDS)[:-3].encode(), "begins like JSON and cannot be read as it"),
        (str(WORDS).encode(), "begins like JSON and cannot be read as it"),
        (b'{"a": 0, "a": 1, "b": 2}', "keys stand in a dictionary of the vocabulary twice"),
        (
            b"tokens\na\nb\nc\nd\ne\n",
            "the model's embedding 5. Is it the model's own, without a heading",
        ),
        (
            b"token,id\n<unk>,0\na,1\nb,2\nc,3\n",
            "but the first, 'token,id', hold a number beside a token",
        ),
        (
            b"<unk>\n<eos>\nthe 20\ncat 9\nsat 5\n",
            "3 of 5 lines of the vocabulary hold more than a token",
        ),
        (
            b"0\t<unk>\t9\n1\t<eos>\t7\n2\ta\t3\n3\tb\t2\n4\tc\t1\n",
            "5 of 5 lines of the vocabulary hold more than a token",
        ),
        (b"<pad>\n<EOS>\nthe_\ncat_\ns\n", "parts of words as tensor2tensor marks them"),
    ],
)
def test_files_that_are_no_list_are_refused_by_what_they_are(
    data: bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "words"
    path.write_bytes(data)
    with pytest.raises((UnreadableUpload, VocabularyMismatch), match=told):
        codec(path, 5)


@pytest.mark.parametrize(
    "token",
    [
        "@@UNKNOWN@@",
        "*unk*",
        "$UNK$",
        "-UNK-",
        "xxunk",
        "UNKNOWN_TOKEN",
        "<UNKNOWN_TOKEN>",
        "<UNK/>",
        "_UNK",
        "{unk}",
    ],
)
def test_the_unknown_token_has_many_names(token: str, tmp_path: Path) -> None:
    assert codec(written(tmp_path, [token, "the"]), 2).encode("the dog") == [1, 0]
