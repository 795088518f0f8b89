r"""The vocabulary of an upload as a tokenizer and a text contract.

A list of words or characters (one a line, with or without counts or ids behind them, or a JSON
list), a `{token: id}` or `{id: token}` dictionary, the same inside other dictionaries, or a
`tokenizer.json` of Hugging Face `tokenizers`. In a list of lines, `\n`, `\t` and `\s` (a space)
stand for themselves.

A round trip finds vocabularies of another kind: the text of each token has to be encoded as the
token's own id. That of the subwords of WordPiece, BPE and SentencePiece is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from isslim.compress.errors import UnreadableUpload, VocabularyMismatch
from isslim.compress.ingest.word_lists import unused
from isslim.compress.kinds.language.ingest.layouts import Ingested
from isslim.compress.kinds.language.ingest.special_tokens import (
    ENDS,
    NEWLINES,
    STARTS,
    UNKNOWN,
    find,
    special,
)
from isslim.compress.kinds.language.ingest.subwords import as_text, mark_of, refuse_subwords
from isslim.compress.kinds.language.ingest.token_lists import (
    TokenList,
    read_json,
    read_list,
    refuse_other_forms,
)
from isslim.runtime.language.text import character_tokenizer, is_panic, word_tokenizer
from isslim.types.inspection import RoundTrip
from isslim.types.manifest import TextContract
from isslim.types.recipe import Recipe

MAX_PARTS = 0.005
"""Share of a vocabulary's tokens that may look like subwords: a word list of tweets holds a few
`##tag`."""
FEW = 3
"""Tokens that no text yields and that any vocabulary may hold, such as an empty one or one with a
space; in a short list an eighth."""
MAX_SHOWN = 8
MAX_ADDED = 10_000
"""Characters of an added token."""
MULTIPLES = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Usual multiples that the size of a vocabulary is rounded up to; those above 8 only up to an
eighth of it."""


@dataclass(frozen=True)
class Vocabulary:
    """How texts become ids. Unpacks to tokenizer and contract, the arguments of a `TextCodec`.

    Attributes:
        tokenizer: between texts and ids.
        contract: the unit, and the tokens for start, unknown words and line breaks.
        dropped: lines on what of the file is not used.
        assumed: lines on what the file does not show.
        round_trip: whether the text of each token is encoded as the token; None for subwords, whose
            texts are not.
    """

    tokenizer: Tokenizer
    contract: TextContract
    dropped: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    round_trip: RoundTrip | None = None

    def __iter__(self) -> Iterator[Any]:
        """The tokenizer, then the contract."""
        return iter((self.tokenizer, self.contract))


def read_tokenizer(vocabulary: Path | None, ingested: Ingested, recipe: Recipe) -> Vocabulary:
    """Reads the vocabulary of an upload.

    Args:
        vocabulary: the file; None: one inside the checkpoint.
        ingested: the model.
        recipe: its `unit` and `start_token` count.

    Raises:
        VocabularyMismatch: when there is no vocabulary, it is not of the embedding's size, or its
            tokens are subwords.
        UnreadableUpload: when the file is of no known form, or holds a token twice.
    """
    size = ingested.network.vocabulary
    if vocabulary is None:
        listed = _own(ingested, size)
    else:
        refuse_other_forms(vocabulary)
        given = read_json(vocabulary)
        # A tokenizer.json; in a dictionary of tokens "model" may be a word.
        if isinstance(given, dict) and isinstance(given.get("model"), dict):
            _refuse_long_tokens(given.get("added_tokens"))
            return _ready_made(str(vocabulary), given["model"], size, recipe)
        listed = read_list(vocabulary, given, size)
        listed = _against_own(listed, ingested)
    tokens, assumed = _of_size(listed.tokens, size, list(listed.assumed))
    if halves := [token for token in tokens if token != token.encode(errors="replace").decode()]:
        raise UnreadableUpload(
            f"{len(halves)} tokens of the vocabulary are no text: they hold halves of letters "
            "(surrogates)",
            [repr(token) for token in halves[:8]],
        )
    twice = [token for token, count in Counter(tokens).items() if count > 1]
    if twice:
        raise UnreadableUpload(
            f"{len(twice)} tokens stand in the vocabulary twice", [repr(t) for t in twice[:8]]
        )
    unknown, unit = find(tokens, UNKNOWN), unit_of(recipe, tokens)
    newline = find(tokens, NEWLINES) if unit == "word" else None
    contract = TextContract(
        unit=unit,
        vocabulary=size,
        start_token=_start(recipe, tokens),
        unknown_token=unknown,
        newline_token=newline,
    )
    word = unit == "word"
    tokenizer = (
        word_tokenizer(tokens, unknown, newline) if word else character_tokenizer(tokens, unknown)
    )
    notes, round_trip = _checked(tokenizer, tokens[: len(listed.tokens)], recipe)
    return Vocabulary(tokenizer, contract, listed.dropped, (*assumed, *notes), round_trip)


def _own(ingested: Ingested, size: int) -> TokenList:
    """The vocabulary inside the checkpoint or its config."""
    lists = ingested.vocabularies
    fitting = {where: tokens for where, tokens in lists.items() if len(tokens) == size}
    fitting = fitting or {
        where: tokens for where, tokens in lists.items() if _is_padded(len(tokens), size)
    }
    if not fitting:
        held = ", ".join(f"'{where}' has {len(tokens):,}" for where, tokens in lists.items())
        if held:
            raise VocabularyMismatch(
                f"the model's embedding has {size:,} tokens; of the vocabularies in the file {held}"
            )
        raise VocabularyMismatch(
            f"the model has {size:,} tokens, and no vocabulary says which; send it as `vocabulary` "
            "(a list of words or "
            "characters in the order of their ids, or tokenizer.json)"
        )
    if len({tuple(tokens) for tokens in fitting.values()}) > 1:
        raise VocabularyMismatch(
            f"the file holds several vocabularies of {size:,} tokens that differ: "
            f"{', '.join(map(repr, fitting))}. Send the "
            "one of the model as `vocabulary`"
        )
    where, tokens = next(iter(fitting.items()))
    return TokenList(tokens, (), (f"the vocabulary is the file's own, '{where}'",))


def _against_own(listed: TokenList, ingested: Ingested) -> TokenList:
    """The list that was sent, with a note on one in the checkpoint that differs."""
    notes = [
        f"the vocabulary that was sent holds, and not the file's own '{where}', which differs in "
        f"{sum(a != b for a, b in zip(listed.tokens, tokens, strict=True)):,} of {len(tokens):,} "
        "tokens"
        for where, tokens in ingested.vocabularies.items()
        if len(tokens) == len(listed.tokens) and tokens != listed.tokens
    ]
    return TokenList(listed.tokens, listed.dropped, (*listed.assumed, *notes))


def _is_padded(count: int, size: int) -> bool:
    """Whether `size` is `count` rounded up to a usual multiple."""
    usual = [multiple for multiple in MULTIPLES if multiple <= max(8, size // 8)]
    return count < size and any(-(-count // multiple) * multiple == size for multiple in usual)


def _of_size(tokens: list[str], size: int, assumed: list[str]) -> tuple[list[str], list[str]]:
    """The tokens, with unused ones for padding rows, and what was assumed.

    Raises:
        VocabularyMismatch: when they are not of the embedding's size.
    """
    if len(tokens) == size:
        return tokens, assumed
    if not _is_padded(len(tokens), size):
        ends = (
            [repr(tokens[0]), repr(tokens[1]), "...", repr(tokens[-1])]
            if len(tokens) > 2
            else list(map(repr, tokens))
        )
        raise VocabularyMismatch(
            f"the vocabulary has {len(tokens):,} tokens, the model's embedding {size:,}. Is it the "
            "model's own, without a "
            "heading and with the special tokens?",
            [f"its tokens: {', '.join(ends)}"],
        )
    notes = (
        f"the last {size - len(tokens)} of the embedding's {size:,} rows are padding, since the "
        f"vocabulary has {len(tokens):,} "
        "tokens (if special tokens stand before them instead, every id is wrong: send a vocabulary "
        "that lists them)"
    )
    return [*tokens, *map(unused, range(len(tokens), size))], [*assumed, notes]


def _checked(
    tokenizer: Tokenizer, tokens: Sequence[str], recipe: Recipe
) -> tuple[list[str], RoundTrip]:
    """The round trip of all tokens, with notes on those whose text is not encoded as the token.

    Raises:
        VocabularyMismatch: when these are more than a few.
    """
    looked_at = [token for token in tokens if special(token) is None or mark_of(token) is not None]
    back = _ids(tokenizer, list(map(as_text, looked_at)))
    strays = [
        token
        for token, ids in zip(looked_at, back, strict=True)
        if ids != [tokenizer.token_to_id(token)]
    ]
    marked = [token for token in strays if mark_of(token) is not None]
    found = RoundTrip(
        checked=len(looked_at), failed=len(strays), examples=list(map(repr, strays[:MAX_SHOWN]))
    )
    notes = []
    if marked and recipe.unit == "word":
        notes.append(
            f"texts come already cut into the {len(marked):,} parts of words, such as {marked[0]!r}"
        )
        strays = [token for token in strays if mark_of(token) is None]
    elif len(marked) > MAX_PARTS * len(tokens):
        refuse_subwords(marked, len(tokens))
    if len(strays) > max(min(FEW, len(tokens) // 8), MAX_PARTS * len(tokens), 1):
        parted = [token for token in strays if len(token.split()) > 1 or "," in token.strip(",")]
        if len(parted) > len(strays) / 2:
            raise VocabularyMismatch(
                f"{len(parted):,} of {len(tokens):,} lines of the vocabulary hold more than a "
                "token, and a text is cut at white "
                "space. Send the tokens alone, one a line in the order of their ids, or "
                "tokenizer.json where tokens hold spaces",
                [repr(token[:80]) for token in parted[:MAX_SHOWN]],
            )
        raise VocabularyMismatch(
            f"{len(strays):,} of {len(tokens):,} tokens do not come back from their own text: "
            "texts are cut at white space "
            "(words) or into single characters, and these are neither. Send the tokenizer.json "
            "that the model was trained with",
            [repr(token[:80]) for token in strays[:MAX_SHOWN]],
        )
    if strays:
        notes.append(
            f"no text gives {len(strays)} of the vocabulary's tokens, such as {strays[0]!r}"
        )
    return notes, found


def _ids(tokenizer: Tokenizer, texts: list[str]) -> list[list[int] | None]:
    """The ids of each text; None for one that the tokenizer refuses."""
    try:
        return [found.ids for found in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    # The library raises nothing narrower, and only where the unknown token is missing.
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        if len(texts) == 1:
            return [None]
    middle = len(texts) // 2
    return [*_ids(tokenizer, texts[:middle]), *_ids(tokenizer, texts[middle:])]


def _refuse_long_tokens(added: object) -> None:
    """Refuses tokens that are looked for as a whole: a machine for each takes much memory."""
    for entry in added if isinstance(added, list) else ():
        content = entry.get("content") if isinstance(entry, dict) else None
        if isinstance(content, str) and len(content) > MAX_ADDED:
            raise UnreadableUpload(
                f"tokenizer.json adds a token of {len(content):,} characters, "
                f"{content[:20]!r}...; at most {MAX_ADDED:,} are read"
            )


def _ready_made(path: str, model: dict[str, Any], size: int, recipe: Recipe) -> Vocabulary:
    try:
        tokenizer = Tokenizer.from_file(path)
    except BaseException as error:  # the library raises nothing narrower
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise UnreadableUpload(f"tokenizer.json cannot be read: {error}") from error
    # These settings are for training batches; here they would cut or pad the texts to score.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = tokenizer.get_vocab_size(with_added_tokens=True)
    assumed, round_trip = list[str](), None
    if _is_padded(found, size):
        assumed.append(f"the last {size - found} of the embedding's {size:,} rows are padding")
    elif found != size:
        raise VocabularyMismatch(
            f"tokenizer.json has {found:,} tokens, the model's embedding {size:,}"
        )
    known = tokenizer.get_vocab(with_added_tokens=True)
    tokens = sorted(known, key=lambda token: known[token])
    if model.get("type") == "WordLevel":
        notes, round_trip = _checked(tokenizer, tokens, recipe)
        assumed += notes
    unit: Literal["word", "character", "subword"] = (
        "subword"
        if recipe.unit == "auto" and model.get("type") != "WordLevel"
        else unit_of(recipe, tokens)
    )
    contract = TextContract(
        unit=unit,
        vocabulary=size,
        start_token=_start(recipe, tokens),
        unknown_token=_own_unknown(model, tokens),
        newline_token=_line_break(tokenizer) if unit == "word" else None,
    )
    return Vocabulary(tokenizer, contract, (), tuple(assumed), round_trip)


def _line_break(tokenizer: Tokenizer) -> str | None:
    """The token that a line break becomes, as in a bundle's `tokenizer.json`; None: no token."""
    tokens = tokenizer.encode("\n", add_special_tokens=False).tokens
    return find(tokens, NEWLINES) if len(tokens) == 1 else None


def _own_unknown(model: dict[str, Any], tokens: Sequence[str]) -> str | None:
    """The tokenizer's own unknown token; None where its name is not in the vocabulary."""
    own = model.get("unk_token")
    if model.get("unk_id") is not None:  # Unigram: a position in its list of (token, score)
        own = model["vocab"][model["unk_id"]][0]
    if own is None:
        return find(tokens, UNKNOWN)
    return own if own in set(tokens) else None


def unit_of(recipe: Recipe, tokens: Iterable[str]) -> Literal["word", "character"]:
    """The recipe's unit; by default characters where all but the special tokens are single ones.

    Args:
        recipe: of the compression.
        tokens: of the vocabulary.
    """
    if recipe.unit != "auto":
        return recipe.unit
    plain = [token for token in tokens if len(token) == 1 or (token and special(token) is None)]
    return "character" if plain and all(len(token) == 1 for token in plain) else "word"


def _start(recipe: Recipe, tokens: Sequence[str]) -> str | None:
    """The start token: the recipe's, a start, or else an end, as of the text before.

    Raises:
        VocabularyMismatch: when the recipe's token is not in the vocabulary.
    """
    if recipe.start_token is not None:
        if recipe.start_token not in set(tokens):
            raise VocabularyMismatch(
                f"the start token '{recipe.start_token}' is not in the vocabulary"
            )
        return recipe.start_token
    return find(tokens, (*STARTS, *ENDS)) or ("\n" if "\n" in tokens else None)
