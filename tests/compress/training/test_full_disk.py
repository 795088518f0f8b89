"""Checkpoints on a full disk: the system's own error, the last whole file, no part left behind."""

from __future__ import annotations

import errno
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.registry import build, spec_of
from isslim.compress.search.round_state import RoundState, write_state
from isslim.compress.training.checkpoints import save_training_checkpoint, write_whole
from isslim.store.files import FULL_DISK

Write = Callable[[Path, LanguageModel], None]


def checkpoint(path: Path, network: LanguageModel) -> None:
    save_training_checkpoint(
        path, {"network": "small"}, {"weights": network.state_dict(), "step": 7}
    )


def state(path: Path, network: LanguageModel) -> None:
    write_state(path, RoundState(network, {"units:lstm0": np.arange(24)}))


@contextmanager
def room(size: int) -> Iterator[None]:
    """A limit on the size of files stands for the full disk: the write fails in the same place."""
    before, handler = (
        resource.getrlimit(resource.RLIMIT_FSIZE),
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("write", [checkpoint, state])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.99])
def test_a_disk_that_fills_is_told_as_such_and_keeps_the_last_whole_file(
    write: Write, share: float, tmp_path: Path
) -> None:
    network = build(spec_of("lstm", 500, 64, (24,), depth=1))
    path = tmp_path / "run"
    write(path, network)
    whole = path.read_bytes()
    with room(int(share * len(whole))), pytest.raises(OSError, match="File too large") as caught:
        write(path, network)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.errno in FULL_DISK
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


class Broken:
    """Cannot be written, for no fault of the disk."""

    def __reduce__(self) -> str:
        raise RuntimeError("no storage to write")


def test_what_is_no_fault_of_the_disk_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no storage to write"):
        write_whole(tmp_path / "run", {"weights": Broken()})
    assert list(tmp_path.iterdir()) == []
