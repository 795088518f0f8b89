"""Takes sockets from this process, for good: what it reads was written by strangers.

By a seccomp filter, which needs no privileges and works in containers; a namespace of the network
would need either. Descriptors that are open stay so: whoever forks closes its sockets first.

https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
import sys
from contextlib import suppress
from pathlib import Path

_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUALS, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_NUMBER, _ARCHITECTURE = 0, 4
"""Positions in `struct seccomp_data`."""
_IO_URING_SETUP, _PIDFD_GETFD = 425, 438
_CALLS: dict[str, tuple[int, tuple[int, ...]]] = {
    # socket, ptrace, process_vm_readv, process_vm_writev
    "x86_64": (0xC000003E, (41, 101, 310, 311, _IO_URING_SETUP, _PIDFD_GETFD)),
    "aarch64": (0xC00000B7, (198, 117, 270, 271, _IO_URING_SETUP, _PIDFD_GETFD)),
}
"""By machine: the architecture's number, and the calls that make sockets or reach into others."""
_X32 = 0x40000000
"""Added to the numbers of a second set of calls on x86-64."""


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def close_sockets() -> None:
    """Closes every socket that this process has inherited."""
    for number in [int(each.name) for each in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # that of the listing itself is gone
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.close(number)


def refuse_sockets() -> bool:
    """Refuses every new socket to this process and its children (`PermissionError`).

    Returns:
        Whether the system can: Linux on x86-64 and 64-bit ARM.
    """
    known = _CALLS.get(platform.machine()) if sys.platform == "linux" else None
    if known is None:
        return False
    architecture, calls = known
    numbers = [*calls, *(_X32 + call for call in calls)]
    # A jump's distance is counted from the next instruction; the last one but one allows.
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUALS, 0, len(numbers) + 2, architecture),
        (_LOAD, 0, 0, _NUMBER),
        *((_EQUALS, len(numbers) - index, 0, number) for index, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    rules = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    program = _Program(len(steps), rules)
    call = ctypes.CDLL(None, use_errno=True).prctl
    return bool(
        call(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
        and call(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0
    )
