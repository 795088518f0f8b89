"""Two real processes against one: the same network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from isslim.compress.training.ranks import Ranks
from tests.compress.training import child


@pytest.mark.slow
def test_two_processes_train_the_network_of_one(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    options = [str(tmp_path / "c"), str(tmp_path / "result"), "--dropout", "0", "--epochs", "2"]
    module = ["-m", "tests.compress.training.child", *options]
    finished = subprocess.run([*command, *module], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"result.{rank}", weights_only=True) for rank in (0, 1))
    one = child.run(None, 0.0, 2)
    assert one.epochs[1].units["units:lstm0"] == 7  # it shrank on the way
    for name, weights in one.network.state_dict().items():
        assert torch.equal(first["network"][name], second["network"][name])
        torch.testing.assert_close(first["network"][name], weights, rtol=1e-3, atol=1e-4)
    assert first["valid"] == pytest.approx(
        [record.valid_perplexity for record in one.epochs], rel=1e-4
    )
    assert first["training"] == pytest.approx(
        [record.training_perplexity for record in one.epochs], rel=1e-4
    )


def test_streams_are_divided_without_a_gap() -> None:
    assert [Ranks(rank, 4).columns(20) for rank in range(4)] == [
        slice(0, 5),
        slice(5, 10),
        slice(10, 15),
        slice(15, 20),
    ]
    with pytest.raises(ValueError, match="batch of 10 cannot be divided over 4 processes"):
        Ranks(0, 4).columns(10)


def test_process_alone_agrees_with_itself() -> None:
    state = [(torch.ones(1, 2, 3),)]
    assert Ranks().agreed(1.5, 2.0) == [1.5, 2.0]
    assert Ranks().gathered(state) is state
