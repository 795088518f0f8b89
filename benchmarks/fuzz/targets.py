"""Every reader of what strangers send, as a function of bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from benchmarks.fuzz import seeds
from isslim.compress.errors import CompressError
from isslim.compress.ingest.checkpoint import read_checkpoint
from isslim.compress.ingest.config import read_config
from isslim.compress.ingest.forms import refuse_foreign
from isslim.compress.kinds.graphs.understanding import graph_file, understood
from isslim.compress.kinds.language.encoding import encode_file
from isslim.compress.kinds.language.ingest.layouts import Ingested, recognise
from isslim.compress.kinds.language.ingest.vocabulary import read_tokenizer
from isslim.compress.kinds.questions.examples import prepare
from isslim.compress.kinds.questions.ingest import read_codec
from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.questions.squad import parse_squad, unpacked
from isslim.runtime.errors import InputsRefused, TextRefused
from isslim.runtime.graphs.recorded_inputs import read_runs
from isslim.runtime.language.text import TextCodec
from isslim.runtime.questions.question_tokenizer import PassageCodec
from isslim.service.problems import RequestError
from isslim.service.uploads import RECIPE, read_form
from isslim.types.recipe import Recipe

REFUSALS = (CompressError, InputsRefused, TextRefused, RequestError, ValidationError)
"""What a reader may say of a damaged file; anything else is a fault of its own."""
MOST_ARRAY_BYTES = 64 << 20


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        name: what it reads.
        seeds: good files.
        read: reads a damaged one from a path; raises one of `REFUSALS`, or nothing.
        weight: how often it is drawn: cheap ones more often.
    """

    name: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]
    weight: int = 3


def file_targets(folder: Path) -> list[Target]:
    """The readers of files.

    Args:
        folder: of good files that others are read with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = _ingested(folder)
    plain = folder / "words.txt"
    plain.write_bytes(seeds.vocabularies()[0])
    codec = TextCodec(*read_tokenizer(plain, known, Recipe()))
    letters = folder / "letters.txt"
    letters.write_text("\n".join("abcdefghinorst?"))
    passages = _passages(folder, seeds.vectors()[0], plain)
    spec = BidafSpec(
        vectors=passages.width,
        characters=passages.character_ids,
        character_embedding=2,
        filters=3,
        contextual=(2, 2),
        modelling0=(2, 2),
        modelling1=(2, 2),
        output=(2, 2),
    )

    def text(path: Path) -> object:
        try:
            return encode_file(codec, path)
        except UnicodeDecodeError as error:  # its caller tells whether it is UTF-16
            raise TextRefused(str(error)) from error

    def questions(path: Path) -> object:
        paragraphs = parse_squad(unpacked(path), "questions")
        try:
            return prepare(paragraphs, passages)
        except ValueError as error:  # as its caller has it
            raise TextRefused(str(error)) from error

    return [
        Target("checkpoint", seeds.checkpoints(), _checkpoint, 4),
        Target("graph", seeds.graphs(), _graph, 2),
        Target("runs", seeds.runs(), lambda path: read_runs(path.read_bytes(), MOST_ARRAY_BYTES)),
        Target(
            "vocabulary",
            seeds.vocabularies(),
            lambda path: read_tokenizer(path, known, Recipe()),
            4,
        ),
        Target("config", seeds.configs(), read_config),
        Target(
            "questions",
            seeds.questions(),
            questions,
        ),
        Target("text", (seeds.TEXT.encode(),), text),
        Target("recipe", seeds.recipes(), _recipe),
        Target("vectors", seeds.vectors(), lambda path: read_codec(plain, path, letters, spec), 1),
    ]


def _ingested(folder: Path) -> Ingested:
    path = folder / "model.safetensors"
    path.write_bytes(seeds.checkpoints()[0])
    return recognise(read_checkpoint(path, None))


def _passages(folder: Path, vectors: bytes, words: Path) -> PassageCodec:
    path = folder / "vectors.npy"
    path.write_bytes(vectors)
    return PassageCodec.of_files(words, path, folder / "letters.txt")


def _checkpoint(path: Path) -> object:
    return recognise(read_checkpoint(path, None))


def _graph(path: Path) -> object:
    refuse_foreign(path)
    prepared = graph_file(path, None).path
    try:
        return understood(prepared)
    finally:
        if prepared != path:
            prepared.unlink()


def _recipe(path: Path) -> object:
    return read_form("options", path.read_bytes().decode(errors="replace"), RECIPE)
