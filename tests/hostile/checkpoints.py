"""Checkpoints: pickles that never end, archives and headers that lie, weights that are none."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tests.conftest import WORDS

Make = Callable[[Path], None]


def pickled(content: bytes) -> Make:
    """A checkpoint of torch.save around a pickle that is written by hand."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")

    return make


def doubled(depth: int) -> bytes:
    """A pair of one and the same pair, and so on: 2^depth entries for whoever walks through it."""
    steps = (b"q" + bytes([level]) + b"h" + bytes([level]) + b"\x86" for level in range(depth))
    return b"K\x01\x85" + b"".join(steps)


def nested_key(depth: int) -> bytes:
    """A dictionary with such a key, which has to be hashed."""
    return b"\x80\x02}" + doubled(depth) + b"K\x01s."


def nested_lists(depth: int) -> bytes:
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def nested_vocabulary(depth: int) -> bytes:
    """A list of tokens that holds itself."""
    return b"\x80\x02}X\x05\x00\x00\x00vocab" + doubled(depth) + b"s."


def called(module: str, name: str, argument: bytes) -> bytes:
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + argument + b"\x85R."


def storage(count: int, stored: bytes = b"\0" * 64) -> Make:
    """A tensor that claims more values than its file holds."""

    def make(path: Path) -> None:
        buffer = io.BytesIO()
        torch.save({"decoder.weight": torch.zeros(16)}, buffer)
        source = zipfile.ZipFile(io.BytesIO(buffer.getvalue()))
        with zipfile.ZipFile(path, "w") as archive:
            for entry in source.infolist():
                content = source.read(entry)
                if entry.filename.endswith("data.pkl"):
                    content = content.replace(b"K\x10", b"\x8a\x08" + struct.pack("<q", count))
                archive.writestr(entry.filename, content)

    return make


def saved(content: Callable[[], object]) -> Make:
    return lambda path: torch.save(content(), path)


def safetensors(
    header: object | bytes, data: bytes = b"\0" * 64, length: int | None = None
) -> Make:
    """A safetensors file with any header, or what makes it: a large one, when it is needed."""

    def make(path: Path) -> None:
        made = header() if callable(header) else header
        content = made if isinstance(made, bytes) else json.dumps(made).encode()
        size = len(content) if length is None else length
        path.write_bytes(struct.pack("<Q", size) + content + data)

    return make


def entry(shape: list[int], begin: int, end: int, kind: str = "F32") -> dict[str, object]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("archive/data.pkl", "w", force_zip64=True) as file:
            for _ in range(2048):
                file.write(b"\0" * (1 << 20))
        archive.writestr("archive/version", "3\n")


def many_entries(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        for number in range(60_000):
            archive.writestr(f"archive/data/{number}", b"")


def overlapping(path: Path) -> None:
    """A directory whose entries all lie on the same bytes, as in a quoted zip bomb."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (4 << 20))
    content = buffer.getvalue()
    at = content.index(b"PK\x01\x02")
    local, directory = content[:at], content[at : content.index(b"PK\x05\x06")]
    many = directory * 1000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(many), at, 0)
    path.write_bytes(local + many + end)


def named_in_no_letters(path: Path) -> None:
    """A part whose own header says that its name is UTF-8, which it is not."""
    language_model(lambda _: None)(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x03\x04", 10)
    content[at + 7] |= 8
    content[at + 30] = 0xE3
    path.write_bytes(content)


def language_model(change: Callable[[dict[str, torch.Tensor]], object]) -> Make:
    """A small language model of `WORDS` words, changed."""

    def make(path: Path) -> None:
        generator = torch.Generator().manual_seed(0)

        def drawn(*shape: int) -> torch.Tensor:
            return 0.1 * torch.randn(*shape, generator=generator)

        state = {
            "encoder.weight": drawn(len(WORDS), 8),
            "rnns.0.weight_ih_l0": drawn(32, 8),
            "rnns.0.weight_hh_l0": drawn(32, 8),
            "rnns.0.bias_ih_l0": drawn(32),
            "rnns.0.bias_hh_l0": drawn(32),
            "decoder.weight": drawn(len(WORDS), 8),
            "decoder.bias": drawn(len(WORDS)),
        }
        changed = change(state)
        torch.save(state if changed is None else changed, path)

    return make


def _named(count: int) -> Callable[[], object]:
    return lambda: {f"layer{number}.weight": torch.zeros(1) for number in range(count)}


def _filled(value: float) -> Make:
    return language_model(
        lambda state: state.update({"decoder.weight": torch.full((len(WORDS), 8), value)})
    )


MANY = "x" * 200_000
CHECKPOINTS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "key-of-nested-tuples": (pickled(nested_key(60)), ("reading-too-long",)),
    "lists-in-lists": (pickled(nested_lists(200_000)), ("unreadable-upload", "reading-failed")),
    "vocabulary-that-holds-itself": (pickled(nested_vocabulary(60)), ("unreadable-upload",)),
    "int-of-many-digits": (
        pickled(called("builtins", "int", b"X\x40\x42\x0f\x00" + b"9" * 1_000_000)),
        ("unreadable-upload",),
    ),
    "bytes-of-a-tebibyte": (
        pickled(called("builtins", "bytearray", b"\x8a\x06\x00\x00\x00\x00\x00\x01")),
        ("unreadable-upload",),
    ),
    "system": (pickled(called("os", "system", b"X\x02\x00\x00\x00id")), ("unsafe-pickle",)),
    "frame-that-lies": (
        pickled(b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"}."),
        ("unreadable-upload",),
    ),
    "long-that-lies": (
        pickled(b"\x80\x02\x8b" + struct.pack("<i", 0x7FFFFFFF) + b"\0."),
        ("unreadable-upload",),
    ),
    "memo-at-a-billion": (
        pickled(b"\x80\x02}r" + struct.pack("<I", 0x7FFFFFF0) + b"."),
        ("unknown-architecture", "unreadable-upload"),
    ),
    "storage-of-2^40": (storage(1 << 40), ("unreadable-upload",)),
    "storage-of-minus-one": (storage(-1), ("unreadable-upload",)),
    "archive-that-unpacks-to-2-gib": (zip_bomb, ("unreadable-upload",)),
    "archive-of-60000-parts": (many_entries, ("unknown-architecture", "unreadable-upload")),
    "archive-of-overlapping-parts": (overlapping, ("unreadable-upload",)),
    "part-named-in-no-letters": (named_in_no_letters, ("unreadable-upload",)),
    "tensor-expanded-to-2^40": (
        saved(lambda: {"decoder.weight": torch.zeros(1).expand(1 << 20, 1 << 20)}),
        ("unreadable-upload",),
    ),
    "sparse-of-2^40": (
        saved(
            lambda: {
                "decoder.weight": torch.sparse_coo_tensor(
                    size=(1 << 20, 1 << 20), check_invariants=True
                )
            }
        ),
        ("unreadable-upload",),
    ),
    "meta-of-2^40": (
        saved(lambda: {"decoder.weight": torch.zeros(1 << 20, 1 << 20, device="meta")}),
        ("unreadable-upload",),
    ),
    "200000-tensors": (saved(_named(200_000)), ("unknown-architecture", "unreadable-upload")),
    "name-of-200000-letters": (saved(lambda: {MANY: torch.zeros(2, 2)}), ("unknown-architecture",)),
    "name-of-200000-dots": (
        saved(lambda: {"." * 200_000: torch.zeros(2, 2), "a." * 100_000: torch.zeros(2)}),
        ("unknown-architecture",),
    ),
    "names-with-nul-and-turned-text": (
        saved(lambda: {"a\0b": torch.zeros(2, 2), "\u202egnp.exe": torch.zeros(2, 2)}),
        ("unknown-architecture",),
    ),
    "tensors-of-no-size": (
        saved(lambda: {"encoder.weight": torch.zeros(0, 8), "rnn.weight_hh_l0": torch.zeros(0, 0)}),
        ("unknown-architecture", "unreadable-upload"),
    ),
    "no-rows": (
        language_model(lambda state: state.update({"decoder.weight": torch.zeros(0, 8)})),
        ("unknown-architecture",),
    ),
    "of-64-dimensions": (
        saved(lambda: {"encoder.weight": torch.zeros([1] * 64)}),
        ("unknown-architecture", "unreadable-upload"),
    ),
    "nan": (_filled(float("nan")), ("bad-weights",)),
    "infinite": (_filled(float("inf")), ("bad-weights",)),
    "huge": (_filled(3e38), ("",)),
    "denormal": (_filled(1e-42), ("",)),
    "complex": (
        language_model(lambda s: s.update({"decoder.weight": torch.zeros(len(WORDS), 8) * 1j})),
        ("unreadable-upload",),
    ),
    "header-of-2^63": (safetensors({}, length=1 << 63), ("unreadable-upload",)),
    "header-that-is-cut": (safetensors({}, length=10_000), ("unreadable-upload",)),
    "header-of-deep-json": (safetensors(b"[" * 200_000), ("unreadable-upload",)),
    "header-of-deep-objects": (
        safetensors(b'{"a":' * 200_000),
        ("unreadable-upload", "reading-failed"),
    ),
    "offsets-beyond": (safetensors({"a": entry([4], 0, 1 << 40)}), ("unreadable-upload",)),
    "offsets-behind": (safetensors({"a": entry([4], 16, 0)}), ("unreadable-upload",)),
    "offsets-that-overlap": (
        safetensors({"a": entry([4], 0, 16), "b": entry([4], 8, 24)}),
        ("unreadable-upload",),
    ),
    "shape-that-overflows": (
        safetensors({"a": entry([1 << 33, 1 << 33], 0, 64)}),
        ("unreadable-upload",),
    ),
    "header-of-200000-tensors": (
        safetensors(lambda: {f"t{n}": entry([0], 0, 0) for n in range(200_000)}, b""),
        ("unknown-architecture", "unreadable-upload"),
    ),
    "metadata-of-200000-aliases": (
        safetensors(
            lambda: {
                "__metadata__": {f"alias{n}": "a" for n in range(200_000)},
                "a": entry([4, 4], 0, 64),
            }
        ),
        ("unknown-architecture", "unreadable-upload"),
    ),
    "array-of-numpy-of-2^40": (
        saved(lambda: {"a": np.zeros(4), "decoder.weight": torch.zeros(2, 2)}),
        ("unknown-architecture",),
    ),
    "empty-file": (lambda path: path.write_bytes(b"") and None, ("unreadable-upload",)),
    "plain-pickle": (
        lambda path: path.write_bytes(pickle.dumps({"a": [1, 2]}, 4)) and None,
        ("unknown-architecture", "unreadable-upload"),
    ),
    "zeros": (lambda path: path.write_bytes(b"\0" * (1 << 20)) and None, ("unreadable-upload",)),
}
"""By name: who writes the model's file, and the refusals that may come; empty: understood."""
