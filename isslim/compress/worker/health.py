"""Whether a worker of this host lives: `python -m isslim.compress.worker.health`.

It exits with 0 if one does, and else with a line that says why not. A worker holds the lock on its
executor id for life (`isslim/store/locks.py`). Whatever keeps the lock from being looked at is
no sign of life.
"""

from __future__ import annotations

import sys

from isslim.settings.environment import SettingsRefused, read
from isslim.settings.worker import WorkerSettings
from isslim.store.errors import Unavailable
from isslim.store.liveness import locks_of
from isslim.store.locks import executor_ids


def main() -> int:
    """Looks at every id that a worker here may have; returns the exit status."""
    try:
        settings = read(WorkerSettings)
        locks = locks_of(settings)
        living = any(locks.is_held(each) for each in executor_ids(settings.executor_id))
    except SettingsRefused as refused:
        sys.stderr.writelines(f"{issue}\n" for issue in refused.issues)
        return 1
    except (OSError, Unavailable) as fault:
        reason = getattr(fault, "reason", fault)
        sys.stderr.write(f"the workers' locks cannot be read: {reason}\n")
        return 1
    if not living:
        sys.stderr.write("no worker of this host holds its lock\n")
    return 0 if living else 1


if __name__ == "__main__":
    sys.exit(main())
