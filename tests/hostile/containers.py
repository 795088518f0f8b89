"""Strategies for archives, arrays, safetensors, pickles: right in form, odd in what they say.

What flipped bits hardly ever reach lies behind checksums and lengths, which are right here: members
of archives, headers of arrays, the program that a pickle is.
"""

from __future__ import annotations

import io
import json
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hypothesis import strategies as st

from benchmarks.fuzz.mutations import NUMBERS, TEXTS
from tests.hostile.documents import TREES, changed

_SIZES = st.sampled_from([number for number in NUMBERS if 0 <= number < 1 << 32])
_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_NAMES = ("", "/etc/x", "../x", "a/../../x", "x.npy", "0/x.npy", "data.pkl", "archive/", "\u202ex")
_CENTRAL, _CENTRAL_FIELDS = b"PK\x01\x02", {8: "<H", 10: "<H", 16: "<I", 20: "<I", 24: "<I",
                                           38: "<I", 42: "<I"}  # fmt: skip
"""An entry of an archive's directory: flags, method, checksum, both sizes, attributes, place."""


@st.composite
def archives(draw: st.DrawFn, good: Sequence[bytes]) -> bytes:
    """Archives of arrays or of PyTorch, one or two of whose members are other ones.

    Args:
        draw: of the strategy.
        good: archives.
    """
    with zipfile.ZipFile(io.BytesIO(draw(st.sampled_from(good)))) as archive:
        members = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    for _ in range(draw(st.integers(1, 2))):
        if not members:
            break
        at = draw(st.integers(0, len(members) - 1))
        name, content = members[at]
        change = draw(st.sampled_from(("content", "content", "content", "name", "lost", "again")))
        if change == "content":
            members[at] = name, draw(_member(name, content))
        elif change == "name":
            others = [other for other, _ in members]
            members[at] = draw(st.sampled_from([*_NAMES, *others])), content
        elif change == "lost":
            del members[at]
        else:
            members.append((name, content))
    packed = bytearray(_zipped(members, draw(st.sampled_from(_KINDS))))
    if draw(st.integers(0, 3)) == 0:
        _lie(draw, packed)
    return bytes(packed)


def _member(name: str, content: bytes) -> st.SearchStrategy[bytes]:
    """Other content for a member."""
    if name.endswith(".npy"):
        return npy_files()
    if name.endswith(".pkl"):
        return pickles(content)
    shorter = st.integers(0, len(content)).map(lambda length: content[:length])
    return st.binary(max_size=40) | shorter | st.just(content * 3)


def _zipped(members: Sequence[tuple[str, bytes]], kind: int) -> bytes:
    made = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", kind) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, kind)
    return made.getvalue()


def _lie(draw: st.DrawFn, packed: bytearray) -> None:
    """Another number in the directory of an archive."""
    places = [at for at in range(len(packed)) if packed[at : at + 4] == _CENTRAL]
    if places:
        at = draw(st.sampled_from(places))
        offset, form = draw(st.sampled_from(sorted(_CENTRAL_FIELDS.items())))
        most = (1 << (8 * struct.calcsize(form))) - 1
        struct.pack_into(form, packed, at + offset, min(draw(_SIZES), most))


@st.composite
def npy_files(draw: st.DrawFn) -> bytes:
    """Arrays with any header.

    Args:
        draw: of the strategy.
    """
    kinds = ("<f4", "<f8", "<i8", ">f4", "<f2", "<f16", "<c8", "|b1", "|u1", "|O", "<U2", "|S3",
             "<M8[s]", "|V16", "[('a', '<f4')]", "x", "")  # fmt: skip
    lengths = st.sampled_from((0, 1, 2, 3, 5, -1, 2**31, 2**40, 2**62, 2**63, 10**30))
    shape = tuple(draw(st.lists(lengths, max_size=4)))
    header = {
        "descr": draw(st.sampled_from(kinds)),
        "fortran_order": draw(st.sampled_from((False, True, None, 1, "no"))),
        "shape": draw(st.sampled_from((shape, shape, shape, list(shape), None, "3"))),
    }
    if draw(st.integers(0, 9)) == 0:
        header[draw(st.sampled_from(("more", "", "descr ")))] = 1
    if draw(st.integers(0, 9)) == 0:
        del header[draw(st.sampled_from(sorted(header)))]
    text = draw(st.sampled_from((repr(header), repr(header), "{" * 50, "[" * 2000, "", "1")))
    line = text.encode() + b"\n"
    version = draw(st.sampled_from(((1, 0), (2, 0), (3, 0), (9, 9))))
    length = struct.pack("<H" if version == (1, 0) else "<I", len(line))
    data = b"\0" * draw(st.sampled_from((0, 1, 4, 20, 60, 64, 1000)))
    return b"\x93NUMPY" + bytes(version) + length + line + data


@st.composite
def safetensors_files(draw: st.DrawFn, good: Sequence[bytes]) -> bytes:
    """Files of tensors whose header says something else.

    Args:
        draw: of the strategy.
        good: files.
    """
    whole = draw(st.sampled_from(good))
    (length,) = struct.unpack("<Q", whole[:8])
    data = whole[8 + length :]
    types = ("F32", "F64", "F16", "BF16", "F8_E4M3", "I64", "I8", "U8", "BOOL", "F4", "", "f32")
    lengths = st.sampled_from((0, 1, 2, 4, 6, 24, 2**31, 2**62, 2**63, -1))
    values = TREES | st.sampled_from(types) | lengths | st.lists(lengths, min_size=1, max_size=3)
    header = json.dumps(draw(changed(json.loads(whole[8 : 8 + length]), values))).encode()
    header += b" " * (-len(header) % 8)
    told = draw(st.sampled_from((len(header),) * 6 + (0, 1, len(header) + 8, 2**40, 2**64 - 1)))
    data = draw(st.sampled_from((data, data, data, data[:-4], data + bytes(8), b"")))
    return struct.pack("<Q", told) + header + data


_STEPS: tuple[bytes, ...] = (
    *(bytes([code]) for code in b"N}](0128.tdlsuaeRboQ"),
    *(bytes([code]) for code in b"\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94"),
    *(b"h" + bytes([place]) for place in (0, 1, 5, 200)),
    b"q\0", b"j\xff\xff\xff\x7f", b"K\x05", b"M\xff\xff", b"J\xff\xff\xff\xff",
    b"\x8a\x09" + b"\xff" * 9, b"I" + b"9" * 400 + b"\n", b"Ix\n", b"Fnan\n",
    b"G\x7f\xf8\0\0\0\0\0\0", b"X\x01\0\0\0a", b"X\xff\xff\xff\x7fa",
    b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x8c\x05state", b"B\x02\0\0\0\0\0", b"P1\n",
    b"\x80\x05", b"\x95\xff\xff\0\0\0\0\0\0", b"cos\nsystem\n", b"cbuiltins\neval\n",
    b"cbuiltins\ngetattr\n", b"ccollections\nOrderedDict\n", b"ctorch\nFloatStorage\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nSize\n", b"ctorch\nload\n",
    b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cargparse\nNamespace\n", b"c\n\n",
    b"cisslim.store.files\natomic_file\n",
)  # fmt: skip
"""Steps of a pickle, whole ones: of any kind, and calls of what must not be called."""


@lru_cache(maxsize=64)
def _steps(content: bytes) -> tuple[bytes, ...]:
    """The steps of a pickle."""
    places = [at for _, _, at in pickletools.genops(content) if at is not None]
    return tuple(
        content[at:end] for at, end in zip(places, [*places[1:], len(content)], strict=True)
    )


@st.composite
def pickles(draw: st.DrawFn, good: bytes) -> bytes:
    """Programs: of a good pickle some steps changed, or steps at random.

    Args:
        draw: of the strategy.
        good: a pickle.
    """
    if draw(st.integers(0, 5)) == 0:
        return b"\x80\x02" + b"".join(draw(st.lists(st.sampled_from(_STEPS), max_size=14))) + b"."
    steps = list(_steps(good))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(steps) - 1))
        change = draw(st.sampled_from(("insert", "replace", "remove", "repeat", "swap", "number")))
        if change == "insert":
            steps.insert(at, draw(st.sampled_from(_STEPS)))
        elif change == "replace":
            steps[at] = draw(st.sampled_from(_STEPS))
        elif change == "remove":
            steps[at] = b""
        elif change == "repeat":
            steps[at] *= draw(st.sampled_from((2, 3, 60)))
        elif change == "swap":
            other = draw(st.integers(0, len(steps) - 1))
            steps[at], steps[other] = steps[other], steps[at]
        else:
            steps[at] = _with_another_number(draw, steps[at])
    return b"".join(steps)


def _with_another_number(draw: st.DrawFn, step: bytes) -> bytes:
    """A step with another argument, if it is a number or a text."""
    if step[:1] == b"K":
        return b"K" + bytes([draw(st.integers(0, 255))])
    if step[:1] == b"M":
        return b"M" + struct.pack("<H", draw(st.integers(0, 2**16 - 1)))
    if step[:1] in (b"J", b"X"):
        text = draw(st.sampled_from(TEXTS)).encode(errors="surrogatepass")
        number = draw(st.integers(-(2**31), 2**31 - 1))
        return draw(
            st.sampled_from(
                (b"J" + struct.pack("<i", number), b"X" + struct.pack("<I", len(text)) + text)
            )
        )
    return step


@st.composite
def older_checkpoints(draw: st.DrawFn, good: Sequence[bytes]) -> bytes:
    """Files of PyTorch before it wrote archives: pickles one after the other, then numbers.

    Args:
        draw: of the strategy.
        good: files.
    """
    parts, rest = _pickles_of(draw(st.sampled_from(good)))
    changed_parts = list(parts)
    at = draw(st.sampled_from((0, 1, 2, 3, 3, 3, 4)))
    changed_parts[at] = draw(pickles(changed_parts[at]))
    return b"".join(changed_parts) + draw(st.sampled_from((rest, rest, rest[:-3], b"")))


@lru_cache(maxsize=16)
def _pickles_of(content: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """Magic number, version, system, object and names of storages; what comes behind them."""
    stream, parts = io.BytesIO(content), list[bytes]()
    for _ in range(5):
        begin = stream.tell()
        for _ in pickletools.genops(stream):
            pass
        parts.append(content[begin : stream.tell()])
    return tuple(parts), content[stream.tell() :]


def checkpoints(good: Sequence[bytes]) -> st.SearchStrategy[Any]:
    """Checkpoints of every form.

    Args:
        good: checkpoints.
    """
    zipped = [each for each in good if each[:2] == b"PK"]
    older = [each for each in good if each[:2] == b"\x80\x02"]
    plain = [each for each in good if each not in (*zipped, *older)]
    return safetensors_files(plain) | archives(zipped) | older_checkpoints(older)
