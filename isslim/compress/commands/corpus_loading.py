"""A corpus as token ids, and how much of it the vocabulary lacks."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from isslim.compress.errors import TextUnusable, VocabularyMismatch
from isslim.compress.kinds.language.corpus import END, UNKNOWN, build_vocabulary, load_corpus

MAX_UNKNOWN = 0.9


@dataclass(frozen=True)
class ReadCorpus:
    """Three texts as ids (int64, (N,)) of one vocabulary.

    Attributes:
        unknown_share: per part, the share of its words that are not in the vocabulary and read as
            `<unk>`.
        left_out: tokens of the training text that are not trained on.
    """

    words: list[str]
    train: Tensor
    valid: Tensor
    test: Tensor
    unknown_share: dict[str, float]
    left_out: int = 0


def declare_corpus(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say what is read, as `read_corpus` takes it."""
    parser.add_argument(
        "--corpus",
        default="pydoc",
        help="ptb, gutenberg, pydoc or a folder (see isslim/compress/kinds/language/corpus.py)",
    )
    parser.add_argument(
        "--vocabulary", type=int, default=10_000, help="words, by frequency in the training text"
    )
    parser.add_argument("--tokens", type=int, help="train on the first N tokens; default: all")


def read_corpus(
    name: str, size: int, words: Path | None = None, tokens: int | None = None
) -> ReadCorpus:
    """Loads a corpus and encodes it.

    Args:
        name: see `isslim.compress.kinds.language.corpus.load_corpus`.
        size: of the vocabulary that is built from the training text.
        words: a vocabulary to use instead, one word a line.
        tokens: of the training text that are trained on, from its beginning; None: all. The
            vocabulary is that of the whole text.

    Raises:
        FileNotFoundError: when the corpus is not there.
        VocabularyMismatch: when a given vocabulary has no `<unk>` or `<eos>`, or a word twice.
        TextUnusable: when nearly all words of a part are not in the vocabulary.
    """
    corpus = load_corpus(name)
    known = build_vocabulary(corpus.train, size) if words is None else _lines(words)
    index = {word: position for position, word in enumerate(known)}
    missing = [word for word in (UNKNOWN, END) if word not in index]
    if missing or len(index) < len(known):
        twice = len(known) - len(index)
        raise VocabularyMismatch(
            f"the vocabulary of {len(known):,} words lacks {', '.join(missing) or 'nothing'} and "
            f"has {twice:,} words twice; {UNKNOWN} and {END} and every word once are expected"
        )
    parts, shares = {}, {}
    for part in ("train", "valid", "test"):
        read = getattr(corpus, part).replace("\n", f" {END} ").split()
        parts[part] = torch.tensor(
            [index.get(token, index[UNKNOWN]) for token in read], dtype=torch.int64
        )
        shares[part] = sum(token not in index for token in read) / max(1, len(read))
        if shares[part] > MAX_UNKNOWN:
            raise TextUnusable(
                f"{shares[part]:.0%} of the {part} text's {len(read):,} words are not in the "
                f"vocabulary of {len(known):,}; is it the right vocabulary?"
            )
    train = parts["train"][:tokens]
    return ReadCorpus(
        known, train, parts["valid"], parts["test"], shares, len(parts["train"]) - len(train)
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
