"""Reads a question answering upload: BiDAF as `python -m isslim.compress train bidaf` writes it.

The model is recognised by the names of its parameters, its sizes by their shapes; words, their
vectors and the characters come as the codec's three files
(`isslim/runtime/questions/question_tokenizer.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isslim.compress.errors import UnknownArchitecture, VocabularyMismatch
from isslim.compress.ingest.checkpoint import Checkpoint
from isslim.compress.ingest.reading import MAX_NAMED, IngestReport
from isslim.compress.kinds.questions.networks.axes import LSTMS, BidafSpec, declare
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.pruning.axes import AxisMismatch
from isslim.runtime.questions.question_tokenizer import PassageCodec

_TELLING = {f"{lstm}.forwards.weight_hh_l0" for lstm in LSTMS}


@dataclass(frozen=True)
class IngestedReader:
    """A BiDAF model that was recognised, and how it was read."""

    network: Bidaf
    reading: IngestReport


def is_bidaf(checkpoint: Checkpoint) -> bool:
    """Whether a parameter has a name of BiDAF's."""
    return not _TELLING.isdisjoint(checkpoint.arrays)


def recognise_bidaf(checkpoint: Checkpoint) -> IngestedReader:
    """Reads the network of a checkpoint.

    Raises:
        UnknownArchitecture: with all parameters that are missing, left over or of another shape.
    """
    arrays = checkpoint.arrays
    found = [f"{name} {array.shape}" for name, array in arrays.items()][:MAX_NAMED]
    try:
        spec = BidafSpec.of(arrays)
        declare(spec).check(arrays)
    except KeyError as missing:
        raise UnknownArchitecture(
            f"this is a BiDAF without the parameter {missing}", found
        ) from missing
    except (AxisMismatch, ValueError, IndexError) as wrong:
        raise UnknownArchitecture(f"this is not BiDAF's shape: {wrong}", found) from wrong
    units = ", ".join(f"{lstm} {' + '.join(map(str, getattr(spec, lstm)))}" for lstm in LSTMS)
    narrow = ", ".join(f"{lstm} {spec.rank(lstm)}" for lstm in LSTMS if spec.rank(lstm))
    sizes = [f"BiDAF: {spec.filters} filters, units: {units}"]
    if narrow:
        sizes.append(f"narrow layers: {narrow}")
    description = ", ".join((*sizes, *checkpoint.done))
    reading = IngestReport(description, checkpoint.dropped)
    return IngestedReader(Bidaf(spec).filled(arrays), reading)


def read_codec(
    words: Path | None, vectors: Path | None, characters: Path | None, spec: BidafSpec
) -> PassageCodec:
    """Reads the codec's three files and checks them against the network.

    Args:
        words: text, one word a line.
        vectors: npy, a row for each word.
        characters: text, one character a line.
        spec: sizes of the network.

    Raises:
        VocabularyMismatch: when a file is missing or unreadable, or they do not fit each other or
            the network.
    """
    given = {
        "vocabulary (words.txt)": words,
        "vectors (vectors.npy)": vectors,
        "characters (characters.txt)": characters,
    }
    missing = [name for name, path in given.items() if path is None]
    if words is None or vectors is None or characters is None:
        raise VocabularyMismatch(
            "a reading-comprehension model needs its words, their vectors and its characters to "
            "read a text: send "
            f"{', '.join(missing)}"
        )
    try:
        codec = PassageCodec.of_files(words, vectors, characters)
    except Exception as error:  # numpy reads a header as Python, with all the errors of that
        raise VocabularyMismatch(
            f"words, vectors and characters cannot be read: {error}"
        ) from error
    issues = []
    if codec.width != spec.vectors:
        issues.append(f"vectors are {codec.width} wide, the network reads {spec.vectors}")
    if codec.character_ids != spec.characters:
        issues.append(
            f"{codec.character_ids} character ids, the network has vectors for {spec.characters}"
        )
    if not np.isfinite(codec.vectors).all():
        issues.append("some word vectors are not finite")
    if issues:
        raise VocabularyMismatch(
            "words, vectors and characters are not those of the network: " + "; ".join(issues),
            issues,
        )
    return codec
