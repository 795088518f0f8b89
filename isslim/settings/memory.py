"""How much memory this process may use: by its machine and its container's limit."""

from __future__ import annotations

import os
from pathlib import Path

from isslim.settings.cores import GROUPS, OWN_GROUP, content_of, groups_around


def memory_bytes(groups: Path = GROUPS, own_group: Path = OWN_GROUP) -> int:
    """Bytes of the machine, or of the smallest limit of a control group of this process.

    Args:
        groups: where control groups are mounted, version 1 or 2.
        own_group: the file that names the groups of this process.
    """
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for folder in groups_around("memory", groups, own_group):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = content_of(folder / name).strip()
            found += [int(limit)] if limit.isdigit() else []
    return min(found)
