"""How much memory this process may use: by its machine and its container's limit."""

from __future__ import annotations

import os
from pathlib import Path

from isslim.settings.cores import GROUPS, OWN_GROUP, content_of


def memory_bytes(groups: Path = GROUPS, own_group: Path = OWN_GROUP) -> int:
    """Bytes of the machine, or of the smallest limit of a control group of this process.

    Args:
        groups: where control groups are mounted, version 1 or 2.
        own_group: the file that names the groups of this process.
    """
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in content_of(own_group).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = groups / "memory" if controllers else groups
        inner = root / path.strip("/")
        # As of processors: a limit on any group holds for those within.
        for folder in (inner, *inner.parents):
            if folder.is_relative_to(root):
                for name in ("memory.max", "memory.limit_in_bytes"):
                    limit = content_of(folder / name).strip()
                    found += [int(limit)] if limit.isdigit() else []
    return min(found)
