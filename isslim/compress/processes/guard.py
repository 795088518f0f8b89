"""Between a worker and its child: ends the child when its worker does not say in time to go on.

    python -I -S isslim/compress/processes/guard.py <bytes> <command> [argument ...]

The worker writes lines to standard input, each a number of seconds for which the child may go on.
When they are over, as that of a worker that is stopped or cut off its database, or when the input
closes, as that of a dead one, the child's whole process group is killed. It is a process of its own
because a thread of the child is not heard while a single instruction takes for ever, and it needs
the standard library only, so that it is there in a moment.

It also kills the group when its processes take more memory than they may, all together; 0: they may
take what there is. What the child writes is not touched. The exit status is the child's; a signal
that ended it ends this process too; or one of those below.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

LAPSED, OVER_MEMORY = 213, 214
"""Exit statuses: the time that the worker gave is over; the child took too much memory."""
POLL_SECONDS = 0.1
_FIRST_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


def main(memory_bytes: int, command: list[str]) -> int:
    """Runs the command; returns the exit status.

    Args:
        memory_bytes: that its processes may take together; 0: no limit.
        command: program and arguments.
    """
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, process_group=0, preexec_fn=_die_with_parent
        )
    except OSError as fault:
        sys.stderr.write(f"{command[0]}: {fault.strerror}\n")
        return 127
    code = _attend(child, memory_bytes)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # also what it left running
    ended = child.wait()
    if code is not None:
        return code
    if ended < 0:
        signal.signal(-ended, signal.SIG_DFL) if -ended not in (9, 19) else None
        os.kill(os.getpid(), -ended)
    return ended


def _attend(child: subprocess.Popen[bytes], memory_bytes: int) -> int | None:
    """Waits for the child; the exit status where it has to be killed, else None."""
    until, kept = time.monotonic() + _FIRST_SECONDS, b""
    while child.poll() is None:
        ready, _, _ = select.select([0], [], [], POLL_SECONDS)
        if ready:
            said = os.read(0, 1 << 16)
            if not said:
                return LAPSED
            lines = (kept + said).split(b"\n")
            kept = lines.pop()
            if lines:
                until = time.monotonic() + float(lines[-1])
        if time.monotonic() >= until:
            return LAPSED
        if memory_bytes and memory_of(child.pid) > memory_bytes:
            return OVER_MEMORY
    return None


def memory_of(pid: int) -> int:
    """Bytes that a process and its descendants have of their own; 0 where nobody says so.

    Files that are mapped do not count: the system gives that memory back.

    Args:
        pid: of the process.
    """
    found, waiting = 0, [pid]
    while waiting:
        each = waiting.pop()
        with contextlib.suppress(OSError):
            with open(f"/proc/{each}/status", encoding="ascii") as status:  # noqa: PTH123
                for line in status:
                    if line.startswith(("RssAnon:", "RssShmem:")):
                        found += int(line.split()[1]) << 10
            for task in os.listdir(f"/proc/{each}/task"):  # noqa: PTH208
                with open(f"/proc/{each}/task/{task}/children", encoding="ascii") as file:  # noqa: PTH123
                    waiting += map(int, file.read().split())
    return found


def _die_with_parent() -> None:
    """In the child before its program: the kernel kills it when this process is killed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123
        score.write("500")  # where the machine has too little memory, no worker is to be the victim


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
