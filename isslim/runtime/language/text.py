"""Defines how a text becomes scored tokens, what precedes the first, and what perplexity counts.

- A text is one stream. Word-level: a line break becomes the newline token (`<eos>` in Penn
  Treebank's form) and the rest is split on white space. Character-level: every character is a
  token, the line break too.
- Every token of the text is scored, those from line breaks included; no token is appended.
- The first token follows the start token and the zero state. Without a start token the first token
  is given, not scored: its log-probability is null and it is not counted.
- A token outside the vocabulary becomes the unknown token; without one the text is refused.
- perplexity = exp(- sum of natural log-probabilities / counted tokens).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from isslim.runtime.errors import TextRefused
from isslim.types.manifest import TextContract

MAX_SHOWN, MAX_SHOWN_CHARACTERS = 8, 60
MAX_LOOKED_AT = 100_000
"""Characters of a refused text that are searched for unknown tokens."""


def word_tokenizer(words: Sequence[str], unknown: str | None, newline: str | None) -> Tokenizer:
    """A tokenizer of whole words; ids are the positions in `words`.

    Args:
        words: the vocabulary.
        unknown: the word that replaces all others; if None, `TextCodec` refuses text with other
            words.
        newline: the word that a line break becomes; if None, line breaks are white space.
    """
    tokenizer = Tokenizer(models.WordLevel(_ids(words), unk_token=unknown or _ABSENT))
    if newline is not None:
        tokenizer.normalizer = normalizers.Replace("\n", f" {newline} ")
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def character_tokenizer(characters: Sequence[str], unknown: str | None) -> Tokenizer:
    """A tokenizer of single characters.

    Args:
        characters: of the vocabulary; ids are their positions.
        unknown: the token that replaces others; None if there is none.
    """
    tokenizer = Tokenizer(models.WordLevel(_ids(characters), unk_token=unknown or _ABSENT))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return tokenizer


_ABSENT = "\x00absent"
"""WordLevel requires the name of an unknown token; one that is not a token makes it raise an error,
which `TextCodec` explains."""


def is_panic(error: BaseException) -> bool:
    """Whether the library of tokenizers, written in Rust, failed: no `Exception` of Python's."""
    return type(error).__name__ == "PanicException"


class TextCodec:
    """Text to token ids and back, under a bundle's text contract.

    Args:
        tokenizer: of the bundle.
        contract: which token starts a text, and which replaces unknown ones.

    Attributes:
        start_id: id of the start token, or None.
        unknown_id: id of the unknown token, or None.
        tokenizer: as it is saved in a bundle.
    """

    def __init__(self, tokenizer: Tokenizer, contract: TextContract) -> None:
        self.contract = contract
        self.tokenizer = tokenizer
        self.start_id = self._id(contract.start_token)
        self.unknown_id = self._id(contract.unknown_token)

    @classmethod
    def from_folder(cls, folder: Path, contract: TextContract) -> TextCodec:
        """The codec of a bundle's folder.

        Args:
            folder: with `tokenizer.json` in it.
            contract: of the bundle.
        """
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")), contract)

    def encode(self, text: str) -> list[int]:
        """The token ids of a text.

        Raises:
            TextRefused: when it holds no token at all, none of the vocabulary, or (without an
                unknown token) any outside it.
        """
        ids = self.tokenize(text)
        if not ids:
            raise TextRefused("the text holds no token")
        if self.unknown_id is not None and all(token == self.unknown_id for token in ids):
            raise TextRefused(
                "the text holds no token of the vocabulary", _shown(self._pieces(text))
            )
        return ids

    def tokenize(self, text: str) -> list[int]:
        """The token ids of a text, which may hold none, or unknown ones alone.

        Raises:
            TextRefused: when it holds a token outside the vocabulary, which has none for those.
        """
        try:
            # The one encoding method that releases the interpreter lock and keeps no offsets: it
            # saves seconds for a long text.
            found = self.tokenizer.encode_batch_fast([text], add_special_tokens=False)
        except BaseException as error:
            if is_panic(error):
                raise TextRefused(f"the tokenizer fails on the text: {error}") from error
            if not isinstance(error, Exception):
                raise
            # The library raises nothing more specific, and only where the unknown token is missing.
            raise self._unknown(text) from error
        ids: list[int] = found[0].ids
        return ids

    def token(self, token_id: int) -> str:
        """A token as written in the vocabulary."""
        found: str | None = self.tokenizer.id_to_token(token_id)
        return f"<{token_id}>" if found is None else found

    def decode(self, ids: Sequence[int]) -> str:
        """Decodes token ids: words joined by spaces, the newline token as a line break.

        Characters are not separated.
        """
        if self.contract.unit == "subword":
            decoded: str = self.tokenizer.decode(list(ids), skip_special_tokens=False)
            return decoded
        return "".join(
            self.added(token, before) for token, before in zip(ids, [None, *ids], strict=False)
        )

    def added(self, token_id: int, before: int | None) -> str:
        """What a word or a character adds to a text: words stand apart, lines have no margins.

        Args:
            token_id: of the token.
            before: of the token before it; None at the beginning of a text.
        """
        written = self._written(token_id)
        if self.contract.unit == "character" or before is None:
            return written
        return written if "\n" in (written, self._written(before)) else f" {written}"

    def _written(self, token_id: int) -> str:
        token = self.token(token_id)
        return "\n" if token == self.contract.newline_token else token

    def special_id(self, text: str) -> int | None:
        """The id of a special token that a text is; None: it is a text."""
        special = (
            self.contract.start_token,
            self.contract.unknown_token,
            self.contract.newline_token,
        )
        return self._id(text) if text in special else None

    @property
    def end_id(self) -> int | None:
        """The token that ends a text which is written: the start token, but for a line break."""
        line_breaks = ("\n", self.contract.newline_token)
        return None if self.contract.start_token in line_breaks else self.start_id

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self.tokenizer.token_to_id(token)

    def _pieces(self, text: str) -> list[str]:
        """The first tokens of a text as written, for messages."""
        text = text[:MAX_LOOKED_AT]
        normalizer, splitter = self.tokenizer.normalizer, self.tokenizer.pre_tokenizer
        normal = normalizer.normalize_str(text) if normalizer is not None else text
        if splitter is None:
            return [normal]
        return [piece for piece, _ in splitter.pre_tokenize_str(normal)]

    def _unknown(self, text: str) -> TextRefused:
        """The refusal of a text that the tokenizer cannot read, with the words that it lacks."""
        reason = "not in the vocabulary, which has no token for unknown ones"
        if (
            self.contract.unit == "subword"
        ):  # only the tokenizer knows which of a word's parts is missing
            return TextRefused(f"some of the text's characters are {reason}")
        wrong = [piece for piece in self._pieces(text) if self.tokenizer.token_to_id(piece) is None]
        count = f"{len(wrong)} tokens" if len(text) <= MAX_LOOKED_AT else "tokens"
        return TextRefused(f"{count} are {reason}", _shown(wrong))


def _shown(pieces: Sequence[str]) -> list[str]:
    """The first few different tokens for a message, long ones cut."""
    few = list(dict.fromkeys(pieces))[:MAX_SHOWN]
    return [
        piece if len(piece) <= MAX_SHOWN_CHARACTERS else f"{piece[:MAX_SHOWN_CHARACTERS]}..."
        for piece in few
    ]


def _ids(tokens: Sequence[str]) -> dict[str, int]:
    return {token: position for position, token in enumerate(tokens)}
