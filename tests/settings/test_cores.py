"""Processors that a container may use, from files as the kernel writes them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from isslim.settings.cores import cores, processors, quota


def group(root: Path, path: str, files: dict[str, str], named: str) -> Path:
    """Writes a control group's files, and the file in which a process finds its groups."""
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    own = root / "own"
    own.write_text(named)
    return own


@pytest.mark.parametrize(
    ("limit", "expected"), [("150000 100000\n", 1.5), ("max 100000\n", math.inf)]
)
def test_quota_of_version_2(limit: str, expected: float, tmp_path: Path) -> None:
    own = group(tmp_path, "", {"cpu.max": limit}, "0::/\n")
    assert quota(tmp_path, own) == expected


def test_limit_on_an_outer_group_holds_within(tmp_path: Path) -> None:
    group(tmp_path, "outer", {"cpu.max": "50000 100000\n"}, "")
    own = group(tmp_path, "outer/inner", {"cpu.max": "400000 100000\n"}, "0::/outer/inner\n")
    assert quota(tmp_path, own) == 0.5


@pytest.mark.parametrize(("limit", "expected"), [("300000\n", 3.0), ("-1\n", math.inf)])
def test_quota_of_version_1(limit: str, expected: float, tmp_path: Path) -> None:
    files = {"cpu.cfs_quota_us": limit, "cpu.cfs_period_us": "100000\n"}
    # The host's path, which is not there in the container: its own group is mounted as the root.
    own = group(tmp_path, "cpu", files, "4:cpu,cpuacct:/docker/abc\n3:cpuset:/docker/abc\n")
    assert quota(tmp_path, own) == expected


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert quota(tmp_path, tmp_path / "none") == math.inf


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_counts() -> None:
    before = os.sched_getaffinity(0)
    assert 1 <= cores() <= processors() <= len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert (cores(), processors()) == (1, 1)
    finally:
        os.sched_setaffinity(0, before)
