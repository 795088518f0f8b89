"""Backs up or restores a home: `python -m isslim.service.backup back-up|restore PATH`.

It prints JSON, for `isslim backup` and `isslim restore`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from isslim.settings.environment import read_or_exit
from isslim.settings.service import ServiceSettings
from isslim.store.backup import back_up, restore
from isslim.store.errors import StoreError


def main(what: str, path: Path) -> int:
    """Does it; returns the exit status.

    Args:
        what: `back-up` or `restore`.
        path: of the backup.
    """
    settings = read_or_exit(ServiceSettings, "isslim backup")
    do = back_up if what == "back-up" else restore
    try:
        found = do(settings, path)
    except StoreError as refused:
        sys.stderr.write(f"{refused}\n")
        return 1
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        sys.stderr.write(f"{path}: {error.strerror or error}{place}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
