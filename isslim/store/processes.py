"""Processes by names that tell them apart on all machines, and whether one of this machine ended.

A name holds the machine's boot, the namespace of process ids (of a container), the id, and when the
process began: an id that is used again is another process.
"""

from __future__ import annotations

import os
import secrets
from functools import cache
from pathlib import Path

_PROC = Path("/proc")


def process_token() -> str:
    """A new token, of at most 64 characters, of which others can tell whether this process ended.

    Where the system does not say what a process is, it is one of which nobody can tell.
    """
    here, began = _here(), _began(os.getpid())
    random = secrets.token_hex(8)
    if here is None or began is None:
        return random
    return f"{random}-{here}-{os.getpid()}-{began}"


def has_ended(token: str) -> bool | None:
    """Whether the process that made a token has ended.

    Args:
        token: of `process_token`.

    Returns:
        None: it is one of another machine or container, or nobody can tell.
    """
    random, _, named = token.partition("-")
    here, _, process = named.rpartition("-")[0].rpartition("-")
    if not random or not here or here != _here() or not process.isdecimal():
        return None
    began = _began(int(process))
    if began is None and _is_hidden(int(process)):
        return None
    return began != named.rpartition("-")[2]


@cache
def _here() -> str | None:
    """Where process ids mean what they mean to this process; None: it cannot be told."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot[:8]}.{(_PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return None


def _is_hidden(process: int) -> bool:
    """Whether there is such a process, of which `/proc` shows nothing (its option `hidepid`)."""
    if (_PROC / str(process)).exists():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _began(process: int) -> str | None:
    """When a process began, in the system's ticks; None: there is none, or it has ended."""
    try:
        stat = (_PROC / str(process) / "stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # behind the name, which may hold anything
    return None if fields[0] in "ZX" else fields[19]
