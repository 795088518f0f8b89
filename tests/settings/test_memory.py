"""How much memory a process may use: its machine's, or the smallest limit of its control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isslim.settings.memory import memory_bytes

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/a/b", {"a/memory.max": "4096", "a/b/memory.max": "max"}, 4096),
        ("0::/a/b", {"a/memory.max": "8192", "a/b/memory.max": "4096"}, 4096),
        ("5:memory:/a\n6:cpu:/c", {"memory/a/memory.limit_in_bytes": "4096"}, 4096),
        ("6:cpu:/a", {"memory/a/memory.limit_in_bytes": "4096"}, MACHINE),
        ("0::/", {}, MACHINE),
    ],
)
def test_smallest_limit_of_all_groups_around_counts(
    own: str, files: dict[str, str], expected: int, tmp_path: Path
) -> None:
    for name, content in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "own").write_text(own)
    assert memory_bytes(tmp_path / "groups", tmp_path / "own") == expected
