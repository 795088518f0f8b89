r"""The vocabulary of an upload as a tokenizer and a text contract.

A word list (one a line, or a JSON list, or a `{word: id}` or `{id: word}` dictionary), a character list (the same, or one
string), or a `tokenizer.json` of Hugging Face `tokenizers`. In a list of lines, `\n`, `\t` and `\s` (a space) stand for
themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from compress.errors import UnreadableUpload, VocabularyMismatch
from compress.ingest.checkpoint import read_json, words_by_id
from compress.ingest.layouts import Ingested
from runtime.text import character_tokenizer, word_tokenizer
from store.manifest import TextContract
from store.recipe import Recipe

UNKNOWN = ("<unk>", "<UNK>", "[UNK]", "<oov>", "UNK")
STARTS = ("<bos>", "<s>", "<sos>", "<eos>", "</s>", "\n")
"""An explicit start before an end: where there is no start, the end of the text before stands in for it."""
NEWLINES = ("<eos>", "</s>")
_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r", "\\s": " ", "\\\\": "\\"}


def read_tokenizer(vocabulary: Path | None, ingested: Ingested, recipe: Recipe) -> tuple[Tokenizer, TextContract]:
    """The tokenizer of an upload and how texts are read with it.

    Raises:
        VocabularyMismatch: when there is no vocabulary, or it is not of the embedding's size.
        UnreadableUpload: when the file is of no known form, or a token stands in it twice.
    """
    size = ingested.network.vocabulary
    given = None if vocabulary is None else read_json(vocabulary)
    if isinstance(given, dict) and isinstance(given.get("model"), dict):  # "model" may also be a word
        return _ready_made(str(vocabulary), given["model"], size, recipe)
    tokens = _tokens(vocabulary, given) if vocabulary is not None else ingested.vocabulary
    if tokens is None:
        raise VocabularyMismatch(
            f"the model has {size:,} tokens, and no vocabulary says which; send it as `vocabulary` (a list of words or "
            "characters in the order of their ids, or tokenizer.json)"
        )
    if len(tokens) != size:
        raise VocabularyMismatch(f"the vocabulary has {len(tokens):,} tokens, the model's embedding {size:,}")
    twice = sorted({token for token in tokens if tokens.count(token) > 1}) if len(set(tokens)) < len(tokens) else []
    if twice:
        raise UnreadableUpload(f"{len(twice)} tokens stand in the vocabulary twice", [repr(t) for t in twice[:8]])
    known = set(tokens)
    unknown = next((token for token in UNKNOWN if token in known), None)
    unit = _unit(recipe, tokens)
    newline = next((token for token in NEWLINES if token in known), None) if unit == "word" else None
    contract = TextContract(
        unit=unit,
        vocabulary=size,
        start_token=_start(recipe, known),
        unknown_token=unknown,
        newline_token=newline,
    )
    if unit == "word":
        return word_tokenizer(tokens, unknown, newline), contract
    return character_tokenizer(tokens, unknown), contract


def _ready_made(path: str, model: dict[str, Any], size: int, recipe: Recipe) -> tuple[Tokenizer, TextContract]:
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # the library raises nothing narrower
        raise UnreadableUpload(f"tokenizer.json cannot be read: {error}") from error
    # Set for training batches; obeyed here, they would score less of a text than there is, or more.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = tokenizer.get_vocab_size(with_added_tokens=True)
    if found != size:
        raise VocabularyMismatch(f"tokenizer.json has {found:,} tokens, the model's embedding {size:,}")
    known = set(tokenizer.get_vocab(with_added_tokens=True))
    contract = TextContract(
        unit="subword" if recipe.unit == "auto" and model.get("type") != "WordLevel" else _unit(recipe, known),
        vocabulary=size,
        start_token=_start(recipe, known),
        unknown_token=_own_unknown(model, known),
        newline_token=None,
    )
    return tokenizer, contract


def _own_unknown(model: dict[str, Any], known: set[str]) -> str | None:
    """What the tokenizer itself makes of strange tokens; a name that is no token of it stands for none."""
    own = model.get("unk_token")
    if model.get("unk_id") is not None:  # Unigram: a position in its list of (token, score)
        own = model["vocab"][model["unk_id"]][0]
    candidates = UNKNOWN if own is None else (own,)
    return next((token for token in candidates if token in known), None)


def _unit(recipe: Recipe, tokens: Iterable[str]) -> Literal["word", "character"]:
    """What a token is: as told, or characters when all but the special tokens are single ones."""
    if recipe.unit != "auto":
        return recipe.unit
    plain = [token for token in tokens if token not in (*UNKNOWN, *STARTS)]
    return "character" if plain and all(len(token) == 1 for token in plain) else "word"


def _start(recipe: Recipe, known: set[str]) -> str | None:
    if recipe.start_token is not None:
        if recipe.start_token not in known:
            raise VocabularyMismatch(f"the start token '{recipe.start_token}' is not in the vocabulary")
        return recipe.start_token
    return next((token for token in STARTS if token in known), None)


def _tokens(path: Path, given: object) -> list[str]:
    if isinstance(given, list) and all(isinstance(token, str) for token in given):
        return [str(token) for token in given]
    if isinstance(given, str):
        return list(given)
    if isinstance(given, dict):
        words = words_by_id(given)
        if words is None:
            raise UnreadableUpload(
                "a vocabulary that is a dictionary must be {token: id} or {id: token}, its ids 0, 1, 2, ... without a gap",
                [f"it begins with {json.dumps(dict(list(given.items())[:3]), ensure_ascii=False)[:200]}"],
            )
        return words
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableUpload(f"the vocabulary is not UTF-8: {error}") from error
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    return [_ESCAPES.get(line, line) for line in lines]
