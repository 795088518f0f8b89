"""How many processors and cores this process may use: by its affinity and its container's quota."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

GROUPS, TOPOLOGY = Path("/sys/fs/cgroup"), Path("/sys/devices/system/cpu")
OWN_GROUP = Path("/proc/self/cgroup")


def processors() -> int:
    """Logical processors that this process may use, at least 1."""
    return max(1, int(min(len(_allowed()), quota())))


def cores() -> int:
    """Physical cores that this process may use, at least 1: of two hyper-threads only one counts.

    Where the system does not say which processors share a core, each counts as one.
    """
    names = {_core_of(processor) for processor in _allowed()}
    return max(1, int(min(len(names), quota())))


def quota(groups: Path = GROUPS, own_group: Path = OWN_GROUP) -> float:
    """Processors' worth of time that the control groups of this process allow; without any: `inf`.

    Args:
        groups: where control groups are mounted, version 1 or 2.
        own_group: the file that names the groups of this process.
    """
    limits = map(_quota_of, groups_around("cpu", groups, own_group))
    return min(limits, default=float("inf"))


def groups_around(controller: str, groups: Path, own_group: Path) -> Iterator[Path]:
    """The control groups of this process, each with those that it lies within.

    A limit on any group holds for those within. In a container the path may be the host's: then its
    own group is mounted as the root.

    Args:
        controller: of the limit, such as `cpu`.
        groups: where control groups are mounted, version 1 or 2.
        own_group: the file that names the groups of this process.
    """
    for line in content_of(own_group).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = groups / controller if controllers else groups
        inner = root / path.strip("/")
        yield from (each for each in (inner, *inner.parents) if each.is_relative_to(root))


def _quota_of(folder: Path) -> float:
    """The quota of one control group."""
    limits = content_of(folder / "cpu.max").split() or [
        content_of(folder / "cpu.cfs_quota_us").strip(),
        content_of(folder / "cpu.cfs_period_us").strip(),
    ]
    try:
        allowed, period = (float(each) for each in limits)
    except ValueError:
        return float("inf")  # "max", or no such files
    return allowed / period if allowed > 0 else float("inf")  # -1: none


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _core_of(processor: int) -> str:
    """The processors that share a core with one, as the system names them."""
    return content_of(TOPOLOGY / f"cpu{processor}/topology/thread_siblings_list") or str(processor)


def content_of(path: Path) -> str:
    """What a file of the system says; nothing where there is none."""
    try:
        return path.read_text()
    except OSError:
        return ""
