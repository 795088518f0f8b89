"""Runs a command under a limit on memory, for as long as somebody waits for it.

    python -m isslim.compress.processes.run_limited <bytes> <command> [argument ...]

Each process of the command may have so many bytes of data of its own. The parent holds standard
input open: when it closes, the parent was killed, and this process ends its whole process group,
of which it should be the head.

The exit status is the command's; 128 and the number of a signal that ended it; 127 when it cannot
be started.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

from isslim.compress.processes.parent_watchdog import watch_parent


def main(memory_bytes: int, command: list[str]) -> int:
    """Runs the command; returns its exit status.

    Args:
        memory_bytes: that each process may have.
        command: program and arguments.
    """
    watch_parent(lambda: os.killpg(0, signal.SIGKILL))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))  # the command inherits it
    try:
        # A command that opens the graph reports it to nobody either: see `isslim.runtime`.
        silent = {"ORT_DISABLE_TELEMETRY": "1", **os.environ}
        code = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=silent).wait()
    except OSError as fault:
        sys.stderr.write(f"{command[0]}: {fault.strerror}\n")
        return 127
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
