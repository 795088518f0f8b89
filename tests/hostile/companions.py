"""Texts, vocabularies, configs and questions that go with a model."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from pathlib import Path

from tests.conftest import WORDS

Make = Callable[[Path], None]
Case = tuple[Make, tuple[str, ...]]


def text(content: str | bytes) -> Make:
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data) and None


def repeated(line: str | bytes, size: int) -> Make:
    """A line again and again, to a file of so many bytes."""
    data = line.encode() if isinstance(line, str) else line

    def make(path: Path) -> None:
        block = data * max(1, (1 << 20) // len(data))
        with path.open("wb") as file:
            for _ in range(-(-size // len(block))):
                file.write(block)

    return make


def as_json(content: Callable[[], object]) -> Make:
    return lambda path: path.write_text(json.dumps(content())) and None


def tokenizer(**changed: object) -> Make:
    """A tokenizer.json of the small model's words, changed."""
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: index for index, word in enumerate(WORDS)},
            "unk_token": "<unk>",
        },
    }
    return as_json(lambda: content | changed)


def split(pattern: str) -> dict[str, object]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def added(count: int, content: str = "token") -> list[dict[str, object]]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return [{"id": len(WORDS) + n, "content": f"{content}{n}", **flags} for n in range(count)]


def replacing(depth: int) -> dict[str, object]:
    """Each step of a normaliser makes sixteen of each letter."""
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 16}
    return {"type": "Sequence", "normalizers": [step] * depth}


def deep(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + closing * depth


def squad(context: str = "a b", questions: int = 1, **answer: object) -> dict[str, object]:
    answers = [{"text": "a", "answer_start": 0} | answer]
    listed = [
        {"id": f"q{n}", "question": "what is it", "answers": answers} for n in range(questions)
    ]
    return {"data": [{"paragraphs": [{"context": context, "qas": listed}]}]}


MISFIT = ("vocabulary-mismatch", "unreadable-upload")
VOCABULARIES: dict[str, Case] = {
    "200000-words-and-one-twice": (
        text("\n".join([*(f"w{n}" for n in range(200_000)), "w7"])),
        MISFIT,
    ),
    "one-word-twice": (text("\n".join([*WORDS[:-1], WORDS[3]])), MISFIT),
    "all-one-word": (text("\n".join(["same"] * 200_000)), MISFIT),
    "deep-json": (text(deep(200_000)), MISFIT),
    "deep-objects": (text(deep(100_000, '{"vocab":', "}")), MISFIT),
    "vocabularies-in-vocabularies": (
        as_json(lambda: _nested(60, 20)),
        MISFIT,
    ),
    "ids-of-5000-digits": (text('{"a": ' + "9" * 5000 + "}"), MISFIT),
    "ids-with-gaps-of-2^62": (as_json(lambda: {"a": 0, "b": 1 << 62}), MISFIT),
    "ids-that-are-not-finite": (text('{"a": NaN, "b": 1e999}'), MISFIT),
    "words-with-nul": (text("\n".join(f"w\0{n}" for n in range(len(WORDS)))), MISFIT),
    "words-that-turn": (text("\n".join(f"\u202e{n}\u2066" for n in range(len(WORDS)))), ("",)),
    "half-of-a-letter-pair": (as_json(lambda: ["\ud800"] * len(WORDS)), MISFIT),
    "half-letter-pairs": (as_json(lambda: [f"\ud800{n}" for n in range(len(WORDS))]), MISFIT),
    "empty-words": (text("\n" * (len(WORDS) - 1) + "x"), MISFIT),
    "one-line-of-60-mib": (repeated("x", 60 << 20), MISFIT),
    "lines-of-nothing": (repeated("\n", 8 << 20), MISFIT),
    "no-text": (text(b"\xff\xfe\x00\xd8" * 1000), MISFIT),
    "numbers-that-never-end": (text("\n".join(f"w{n} {'1' * 5000}" for n in range(30))), MISFIT),
    "catastrophic-regex": (
        tokenizer(pre_tokenizer=split(r"(a+)+$")),
        ("", "reading-too-long", *MISFIT),
    ),
    "catastrophic-regex-behind": (
        tokenizer(pre_tokenizer=split(r"(?=(.*)*x)(\w+\s?)*$")),
        ("", "reading-too-long", *MISFIT),
    ),
    "regex-of-2^31": (tokenizer(pre_tokenizer=split("a{1,100000}{1,100000}")), MISFIT),
    "regex-that-is-deep": (tokenizer(pre_tokenizer=split("(" * 50_000 + ")" * 50_000)), MISFIT),
    "regex-that-is-none": (tokenizer(pre_tokenizer=split("(((")), MISFIT),
    "normaliser-that-grows": (
        tokenizer(normalizer=replacing(9)),
        ("reading-too-large", "reading-failed", *MISFIT),
    ),
    "200000-added-tokens": (tokenizer(added_tokens=added(200_000)), MISFIT),
    "added-token-of-8-mib": (tokenizer(added_tokens=added(1, "x" * (8 << 20))), MISFIT),
    "added-token-at-2^32-1": (
        tokenizer(added_tokens=[added(1)[0] | {"id": (1 << 32) - 1}]),
        MISFIT,
    ),
    "padding-to-2^40": (
        tokenizer(
            padding={
                "strategy": {"Fixed": 1 << 40},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "<eos>",
            }
        ),
        ("", "reading-too-large", "reading-failed", *MISFIT),
    ),
    "template-without-end": (
        tokenizer(
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 100_000,
                "pair": [],
                "special_tokens": {},
            }
        ),
        ("", "reading-too-large", "reading-failed", *MISFIT),
    ),
    "model-of-no-known-kind": (tokenizer(model={"type": "Evil"}), MISFIT),
    "unigram-whose-unknown-is-beyond": (
        tokenizer(
            model={
                "type": "Unigram",
                "vocab": [[word, -1.0] for word in WORDS],
                "unk_id": 1 << 40,
            }
        ),
        MISFIT,
    ),
    "unigram-of-no-numbers": (
        tokenizer(model={"type": "Unigram", "vocab": "x", "unk_id": 0}),
        MISFIT,
    ),
    "merges-of-nothing": (
        tokenizer(model={"type": "BPE", "vocab": {"a": 0}, "merges": [["x", "y"]]}),
        MISFIT,
    ),
    "merges-shorter-than-their-prefix": (
        tokenizer(
            model={
                "type": "BPE",
                "continuing_subword_prefix": "##",
                "vocab": {"a": 0, "b": 1, "ab": 2},
                "merges": [["a", "b"]],
            }
        ),
        MISFIT,
    ),
    "tokenizer-in-a-list": (text('{"model": {"type": ["x"], "vocab": 3}}'), MISFIT),
    "tokenizer-of-deep-steps": (
        tokenizer(normalizer=json.loads(deep(60, '{"type":"Sequence","normalizers":[', "]}"))),
        ("", *MISFIT),
    ),
}


def _nested(depth: int, wide: int) -> object:
    content: object = {f"w{n}": n for n in range(wide)}
    for _ in range(depth):
        content = {"vocab": content, "words": ["a", "b"], "tokens": {"x": 1, "y": 5}}
    return content


TEXTS: dict[str, Case] = {
    "12-mib-of-words": (repeated("the old man sees a green tree\n", 12 << 20), ("",)),
    "60-mib-without-a-space": (repeated("x", 60 << 20), ("text-unusable",)),
    "60-mib-of-spaces": (repeated(" ", 60 << 20), ("text-unusable",)),
    "12-mib-of-line-breaks": (repeated("\n", 12 << 20), ("", "reading-too-long")),
    "12-mib-of-single-letters": (repeated("x ", 12 << 20), ("text-unusable",)),
    "marks-over-marks": (repeated("a" + "\u0301" * 5000 + " ", 8 << 20), ("text-unusable",)),
    "with-nul": (text("the cat\0sees\n" * 200), ("text-unusable",)),
    "that-turns": (text("the \u202ecat sees a dog\n" * 200), ("",)),
    "utf-16": (text("the cat sees a dog\n".encode("utf-16") * 100), ("text-unusable",)),
    "half-of-a-letter": (text(b"the cat sees a dog\n" * 200 + b"\xf0\x9f"), ("text-unusable",)),
    "empty": (text(""), ("text-unusable",)),
    "binary": (text(bytes(range(256)) * 1000), ("text-unusable",)),
}
"""Calibration texts of the small model."""
CONFIGS: dict[str, Case] = {
    "deep": (text(deep(200_000)), ("unreadable-upload",)),
    "deep-objects": (text(deep(100_000, '{"network":', "}")), ("unreadable-upload",)),
    "rename-all-to-one": (
        as_json(lambda: {"rename": {f"a{n}": "b" for n in range(100_000)}}),
        ("", "unreadable-upload", "unknown-architecture"),
    ),
    "number-of-a-million-digits": (
        text('{"tied": ' + "9" * 1_000_000 + "}"),
        ("unreadable-upload",),
    ),
    "layers-of-100000": (
        as_json(lambda: {"layers": [f"l{n}" for n in range(100_000)]}),
        ("unreadable-upload", "unknown-architecture"),
    ),
    "drop-of-100000": (
        as_json(lambda: {"drop": [f"l{n}" for n in range(100_000)]}),
        ("unreadable-upload",),
    ),
    "unknown-keys-of-100000": (
        as_json(lambda: {f"key{n}": n for n in range(100_000)}),
        ("unreadable-upload",),
    ),
    "network-of-2^62": (
        as_json(
            lambda: {
                "isslim": 1,
                "architecture": "lstm-language-model",
                "spec": {"vocabulary": 1 << 62, "embedding": 1 << 62, "units": [1 << 62]},
            }
        ),
        ("unreadable-upload",),
    ),
    "half-letters": (text('{"state": "\\ud800"}'), ("unreadable-upload", "unknown-architecture")),
    "array": (text("[]"), ("unreadable-upload",)),
    "null": (text("null"), ("unreadable-upload",)),
    "no-utf-8": (text(b"\xff" * 1000), ("unreadable-upload",)),
}
"""Configs beside the small model."""
QUESTIONS: dict[str, Case] = {
    "deep": (text(deep(200_000)), ("unreadable-upload",)),
    "number-of-5000-digits": (
        text(json.dumps(squad()).replace('"answer_start": 0', '"answer_start": ' + "9" * 5000)),
        ("unreadable-upload",),
    ),
    "context-of-20-mib": (
        as_json(lambda: squad("a b " * (5 << 20))),
        ("text-unusable", "unreadable-upload", "reading-too-large"),
    ),
    "question-of-20-mib": (
        as_json(
            lambda: {
                "data": [
                    {
                        "paragraphs": [
                            {
                                "context": "a",
                                "qas": [{"id": "1", "question": "a " * (10 << 20), "answers": []}],
                            }
                        ]
                    }
                ]
            }
        ),
        ("text-unusable", "unreadable-upload", "reading-too-large"),
    ),
    "200000-questions": (
        as_json(lambda: squad("a b c", 200_000)),
        ("text-unusable", "unreadable-upload", "reading-too-large", "reading-too-long", ""),
    ),
    "answer-at-2^62": (
        as_json(lambda: squad(answer_start=1 << 62)),
        ("text-unusable", "unreadable-upload"),
    ),
    "answer-that-is-infinite": (
        text(json.dumps(squad()).replace('"answer_start": 0', '"answer_start": 1e999')),
        ("text-unusable", "unreadable-upload"),
    ),
    "fields-that-nest": (
        as_json(lambda: {"data": [{"paragraphs": [{"context": {"a": []}, "qas": [[[]]]}]}]}),
        ("unreadable-upload",),
    ),
    "data-that-is-text": (as_json(lambda: {"data": "x" * 1_000_000}), ("unreadable-upload",)),
    "xz-that-unpacks-to-8-gib": (
        lambda path: _xz_bomb(path, 8),
        ("unreadable-upload", "reading-too-large"),
    ),
    "half-letters": (
        text(json.dumps(squad("\ud800 b"))),
        ("text-unusable", "unreadable-upload"),
    ),
    "with-nul": (as_json(lambda: squad("a\0b c")), ("text-unusable", "unreadable-upload")),
    "empty": (text(""), ("unreadable-upload",)),
}
"""Questions of a small reader."""


def _xz_bomb(path: Path, gib: int) -> None:
    """Zeros in an xz file, repeated as blocks of one stream behind the other."""
    packed = lzma.compress(b"\0" * (256 << 20), preset=0)
    path.write_bytes(packed * (4 * gib))
