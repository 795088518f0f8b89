"""What a text is to a language model: how it becomes tokens, what stands before the first, what is counted.

The definition, recorded in every bundle as a `TextContract`:

- A text is one stream. Word-level: a line break becomes the newline token, then the text is split on white space.
  Character-level: every character is a token. Subword: as the bundle's tokenizer says.
- Every token is scored, those of line breaks included; no token is added at the end.
- Before the first token stands the start token, read from the zero state. Without a start token the first token has
  no log-probability and is not counted.
- A token outside the vocabulary becomes the unknown token; without one the text is refused. A text with no token of
  the vocabulary is refused.
- perplexity = exp(-sum of the natural log-probabilities / counted tokens).

Tokenizers are those of Hugging Face `tokenizers`, so that a bundle's `tokenizer.json` serves elsewhere too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Replace
from tokenizers.pre_tokenizers import Split, WhitespaceSplit

from runtime.errors import TextRefused
from store.manifest import TextContract

SHOWN = 5
"""So many of the words that were not understood are named."""


@dataclass(frozen=True)
class Scorable:
    """A sequence as the graph reads it.

    Attributes:
        inputs: int64 (n,), the token before each target.
        targets: int64 (n,), the tokens to be scored.
        unscored: tokens at the beginning that have no log-probability: 0 or 1.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    unscored: int


def scorable(ids: list[int], start_id: int | None) -> Scorable:
    """A text's tokens with what stands before them; without a start token the first one is not scored."""
    stream = np.array(ids if start_id is None else [start_id, *ids], dtype=np.int64)
    return Scorable(stream[:-1], stream[1:], int(start_id is None and len(ids) > 0))


def word_tokenizer(words: list[str], unknown: str | None, newline: str | None) -> Tokenizer:
    """Splits on white space; `words` in the order of their ids.

    Args:
        words: the vocabulary, each word once.
        unknown: the word that stands for all others; None: there is none.
        newline: the word that a line break becomes; None: a line break is white space.
    """
    tokenizer = _word_level(words, unknown)
    if newline is not None:
        tokenizer.normalizer = Replace("\n", f" {newline} ")
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return tokenizer


def character_tokenizer(characters: list[str], unknown: str | None) -> Tokenizer:
    """Every character is a token; `characters` in the order of their ids, and `unknown` may be a longer one."""
    tokenizer = _word_level(characters, unknown)
    tokenizer.pre_tokenizer = Split(Regex("(?s)."), "isolated")
    return tokenizer


def _word_level(words: list[str], unknown: str | None) -> Tokenizer:
    ids = {word: index for index, word in enumerate(words)}
    if len(ids) != len(words):
        raise ValueError("a vocabulary names each token once")
    if unknown is not None and unknown not in ids:
        raise ValueError(f"the unknown token '{unknown}' is not in the vocabulary")
    return Tokenizer(WordLevel(ids) if unknown is None else WordLevel(ids, unk_token=unknown))


class TextCodec:
    """Texts to token ids and back.

    Args:
        tokenizer: the vocabulary and how to split.
        contract: what the bundle says about texts.

    Attributes:
        start_id: the id that stands before a text; None: the first token is not scored.

    Raises:
        ValueError: when the contract names a token that the tokenizer does not know.
    """

    def __init__(self, tokenizer: Tokenizer, contract: TextContract) -> None:
        self.tokenizer, self.contract = tokenizer, contract
        self.start_id = self._named(contract.start_token)
        self._unknown_id = self._named(contract.unknown_token)
        self._newline_id = self._named(contract.newline_token)

    @classmethod
    def from_bundle(cls, folder: Path, contract: TextContract) -> TextCodec:
        """Reads a bundle's `tokenizer.json`."""
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")), contract)

    def encode(self, text: str) -> list[int]:
        """The ids of a text's tokens.

        Raises:
            TextRefused: when it has no token of the vocabulary, or one outside it and there is no unknown token.
        """
        if self.contract.unit != "subword" and self._unknown_id is None:
            strangers = [piece for piece in self._pieces(text) if self.tokenizer.token_to_id(piece) is None]
            if strangers:
                raise TextRefused(
                    f"the text has {self.contract.unit}s that are not in the vocabulary, which has no unknown token",
                    [repr(word) for word in list(dict.fromkeys(strangers))[:SHOWN]],
                )
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        if not ids:
            raise TextRefused("the text has no token")
        if self._unknown_id in ids and set(ids) <= {self._unknown_id, self._newline_id}:
            pieces = self._pieces(text)
            if self.contract.unknown_token not in pieces:
                strangers = [piece for piece in dict.fromkeys(pieces) if piece != self.contract.newline_token]
                raise TextRefused(
                    "the text has no token of the vocabulary", [repr(word) for word in strangers[:SHOWN]]
                )
        return ids

    def encode_for_scoring(self, text: str) -> Scorable:
        """A text as the graph reads it.

        Raises:
            TextRefused: as `encode` does, and when there is nothing to score.
        """
        sequence = scorable(self.encode(text), self.start_id)
        if not len(sequence.targets):
            raise TextRefused("the text is one token, and without a start token the first token is not scored")
        return sequence

    def decode(self, ids: list[int]) -> str:
        """The text of token ids; words are joined by a space, and the newline token is a line break."""
        if self.contract.unit == "subword":
            text: str = self.tokenizer.decode(ids, skip_special_tokens=False)
            return text
        tokens = [self.token(index) for index in ids]
        if self.contract.unit == "character":
            return "".join(tokens)
        lines, newline = [[]], self.contract.newline_token  # type: tuple[list[list[str]], str | None]
        for token in tokens:
            if token == newline:
                lines.append([])
            else:
                lines[-1].append(token)
        return "\n".join(" ".join(line) for line in lines)

    def token(self, index: int) -> str:
        """The token of an id; an id that the tokenizer does not name shows as its number."""
        name: str | None = self.tokenizer.id_to_token(index)
        return f"<{index}>" if name is None else name

    def _named(self, token: str | None) -> int | None:
        index: int | None = None if token is None else self.tokenizer.token_to_id(token)
        if token is not None and index is None:
            raise ValueError(f"the token '{token}' is not in the tokenizer's vocabulary")
        return index

    def _pieces(self, text: str) -> list[str]:
        """The text split, before it is looked up."""
        if self.tokenizer.normalizer is not None:
            text = self.tokenizer.normalizer.normalize_str(text)
        if self.tokenizer.pre_tokenizer is None:
            return [text]
        return [piece for piece, _ in self.tokenizer.pre_tokenizer.pre_tokenize_str(text)]
