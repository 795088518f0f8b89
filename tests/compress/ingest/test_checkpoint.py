"""Files that are no weights, damaged, dangerous or dishonest about their size."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import resource
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from isslim.compress.errors import BadWeights, CompressError, UnreadableUpload, UnsafePickle
from isslim.compress.ingest.limits import memory_for
from isslim.compress.kinds.language.ingest.layouts import read_model
from tests.compress.kinds.language.ingest.test_layouts import Plain, V, saved


def test_nan_and_infinite_weights_are_named(tmp_path: Path) -> None:
    state = Plain().state_dict()
    state["fc.weight"][1, 2] = float("nan")
    state["lstm.bias_hh_l0"][3] = float("inf")
    with pytest.raises(BadWeights) as refused:
        read_model(saved(state, tmp_path), None)
    assert len(refused.value.issues) == 2


class Evil:
    """Would write a file if it were unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_pickle_with_code_is_refused_and_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for content in ({"state_dict": Plain().state_dict(), "extra": Evil(str(mark))}, Plain()):
        with pytest.raises(UnsafePickle, match="state_dict") as refused:
            read_model(saved(content, tmp_path), None)
        answer = refused.value.detail + "".join(refused.value.issues)
        assert "add_safe_globals" not in answer
        assert "weights_only" not in answer
        assert "\x1b" not in answer
        assert any(name in answer for name in ("posix.system", "test_layouts.Plain"))
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Evil(str(mark)), protocol=2))
    with pytest.raises((UnsafePickle, UnreadableUpload)):
        read_model(tmp_path / "raw.pt", None)
    assert not mark.exists()


@pytest.mark.parametrize("keep", [0.01, 0.3, 0.9])
def test_truncated_files_are_refused(keep: float, tmp_path: Path) -> None:
    whole = saved(Plain().state_dict(), tmp_path)
    save_file(
        {k: v.contiguous() for k, v in Plain().state_dict().items()}, tmp_path / "model.safetensors"
    )
    for path in (whole, tmp_path / "model.safetensors"):
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])
        with pytest.raises(UnreadableUpload):
            read_model(path, None)


def test_zip_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(50_000_000))
    with pytest.raises(UnreadableUpload, match="would unpack to"):
        read_model(path, None)


@pytest.mark.parametrize(
    "content", [b"hello", b"\x08\x07\x12\x07pytorch", b"PK\x03\x04rubbish", b"\x80\x02}q"]
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(content)
    with pytest.raises(UnreadableUpload):
        read_model(path, None)


@pytest.mark.parametrize(
    "content",
    [b"\x80\x02torn", b"\x80\x02.", b"\x80\x02", b"torn", b"\x80", b"\x80\x02cnone\nsuch\n."],
)
def test_torn_pickles_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "torn.pt"
    path.write_bytes(content)
    with pytest.raises((UnreadableUpload, UnsafePickle)):
        read_model(path, None)


@pytest.mark.parametrize("seed", range(4))
def test_pickles_with_a_changed_byte_are_refused_or_read(seed: int, tmp_path: Path) -> None:
    whole = saved(Plain().state_dict(), tmp_path)
    with zipfile.ZipFile(whole) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = next(name for name in parts if name.endswith("data.pkl"))
    draw = random.Random(seed)
    for trial in range(60):
        damaged = bytearray(parts[name])
        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path = tmp_path / f"damaged-{trial}.pt"
        with zipfile.ZipFile(path, "w") as archive:
            for part, content in parts.items():
                archive.writestr(part, bytes(damaged) if part == name else content)
        with contextlib.suppress(CompressError):
            read_model(path, None)


READING = """
import resource, sys
from pathlib import Path
from isslim.compress.errors import UnreadableUpload
from isslim.compress.kinds.language.ingest.layouts import read_model
from isslim.compress.ingest.limits import memory_for
for path in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read_model(Path(path), None)
    except UnreadableUpload as refused:
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(grown, refused.detail, refused.issues)
"""


def test_small_files_that_claim_many_weights_take_no_memory(tmp_path: Path) -> None:
    state: dict[str, Tensor] = dict(Plain().state_dict())
    shared = torch.zeros(500_000, dtype=torch.float16)
    torch.save(
        state | {"embed.weight": torch.zeros(1).expand(200_000, 1000)}, tmp_path / "expanded.pt"
    )
    torch.save(
        state | {"embed.weight": torch.zeros(2000).as_strided((200_000, 1000), (0, 1))},
        tmp_path / "strided.pt",
    )
    torch.save(state | {f"copy{index}": shared for index in range(400)}, tmp_path / "shared.pt")
    command = [
        sys.executable,
        "-c",
        READING,
        *(tmp_path / f"{name}.pt" for name in ("expanded", "strided", "shared")),
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(found) == 3
    assert "'embed.weight' (200000, 1000) claims 800,000,000 bytes, 4 are stored" in found[0]
    assert "'embed.weight' (200000, 1000) claims 800,000,000 bytes, 8,000 are stored" in found[1]
    assert "share their values" in found[2]
    assert all(int(line.split()[0]) < 100_000 for line in found), (
        found
    )  # KiB; the arrays would be 800 MB


def pickled(*operations: bytes) -> bytes:
    return b"\x80\x02" + b"".join(operations) + b"."


NUMBER = b"J" + (2**31 - 1).to_bytes(4, "little")
HUNGRY = {
    "bytearray": pickled(b"cbuiltins\nbytearray\n", NUMBER, b"\x85R"),
    "bytearrays": pickled(
        b"]", *[b"cbuiltins\nbytearray\nJ\x00\x00\x00\x10\x85Ra"] * 8
    ),  # 256 MiB each
    "storage": pickled(b"ctorch.storage\nUntypedStorage\n", NUMBER, b"\x85\x81"),
}


@pytest.mark.parametrize("zipped", [pytest.param(True, marks=pytest.mark.slow), False])
def test_pickles_that_ask_for_memory_get_none(zipped: bool, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.pt" for name in HUNGRY]
    for path, content in zip(paths, HUNGRY.values(), strict=True):
        if zipped:
            with (
                zipfile.ZipFile(saved({}, tmp_path)) as whole,
                zipfile.ZipFile(path, "w") as archive,
            ):
                for entry in whole.infolist():
                    hungry = entry.filename.endswith("data.pkl")
                    archive.writestr(entry.filename, content if hungry else whole.read(entry))
        else:
            path.write_bytes(content)
    # One after the other in one process: the growth of its peak tells of each that asks for more
    # than all before it.
    command = [sys.executable, "-c", READING, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    lines = done.stdout.splitlines()
    assert len(lines) == len(HUNGRY)
    assert all("of memory" in line for line in lines), lines
    assert sum(int(line.split()[0]) for line in lines) < 700_000  # KiB; each asks for 2 GiB


def test_memory_is_limited_inside_the_block_and_free_after_it() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory_for(64 << 20):
        assert len(bytearray(16 << 20)) == 16 << 20
        with pytest.raises(MemoryError):
            bytearray(256 << 20)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert len(bytearray(256 << 20)) == 256 << 20


def test_tied_half_precision_weights_are_no_bomb(tmp_path: Path) -> None:
    torch.manual_seed(0)
    table = torch.randn(5000, 8).half()
    state = {f"rnn.{name}": value.half() for name, value in nn.LSTM(8, 8).state_dict().items()}
    state |= {"encoder.weight": table, "encoder_dp.emb.weight": table, "decoder.weight": table}
    assert read_model(saved(state, tmp_path), None).network.vocabulary == 5000


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    ("tensor", "named"),
    [
        (lambda: torch.eye(V).to_sparse(), "'fc.weight' is sparse_coo"),
        (lambda: torch.eye(V).to_sparse_csr(), "'fc.weight' is sparse_csr"),
        (lambda: torch.empty(V, 8, device="meta"), "'fc.weight' is on the device 'meta'"),
        (
            lambda: torch.nested.nested_tensor([torch.ones(2, 8), torch.ones(3, 8)]),
            "'fc.weight' is nested",
        ),
        (lambda: torch.zeros(V, 8, dtype=torch.complex64), "'fc.weight' holds complex numbers"),
    ],
    ids=["coo", "csr", "meta", "nested", "complex"],
)
def test_tensors_that_are_not_dense_are_named(tensor: Any, named: str, tmp_path: Path) -> None:
    path = saved(Plain().state_dict() | {"fc.weight": tensor()}, tmp_path)
    with pytest.raises(UnreadableUpload, match="dense") as refused:
        read_model(path, None)
    assert named in refused.value.issues[0]
