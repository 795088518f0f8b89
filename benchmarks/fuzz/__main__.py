"""Damaged files and requests by the million, against every reader and a service.

    python -m benchmarks.fuzz [--cases 20000] [--first 0] [--processes 2] [--json]

Each case is decided by its number alone: a good file, body or form (`seeds`, `bodies`) is damaged
(`mutations`: bits, lengths, pieces, values of JSON, members of archives with their checksums made
right) and read. A reader may refuse it by name; a service may answer it, or refuse it with a
problem document of at most 64 kB. Anything else is a fault: another exception, a status of 500, a
process that ends, a case of more than twenty seconds. `--first` goes on where a run has stopped,
and repeats a case alone: `--first 4711 --cases 1`.

Watched, too: memory of each process over the second half of its cases (below 64 MB), temporary
files, descriptors, and uploads that no job needs. The exit status is 1 where there is any.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.baseline import cache_folder
from benchmarks.fuzz.running import Plan, fuzzed
from benchmarks.soak.models import first_models
from isslim.store.queue import JobQueue
from isslim.store.settings import StoreSettings


def main() -> int:
    """Publishes models, runs the cases, prints; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        home = Path(name)
        first_models(home)
        began = time.monotonic()
        result = fuzzed(home, Plan(asked.first, asked.cases, asked.processes))
        result.files_left += len(uploads_left(home))
        seconds = round(time.monotonic() - began, 1)
    said = dataclasses.asdict(result) | {"first": asked.first, "seconds": seconds}
    if asked.json:
        sys.stdout.write(json.dumps(said) + "\n")
    else:
        for name, value in said.items():
            if name != "faults":
                sys.stdout.write(f"{name.replace('_', ' ')}: {value}\n")
        for fault in result.faults:
            sys.stdout.write(f"case {fault['case']} ({fault['target']}): {fault['what']}\n")
    return 0 if result.is_clean else 1


def uploads_left(home: Path) -> set[str]:
    """Uploads on disk that no job and no inspection needs.

    Args:
        home: of a service that took uploads.
    """
    settings = StoreSettings(home=home)
    kept = {path.name for path in home.glob("artifacts/uploads/*")}
    return kept - JobQueue(settings).needed_uploads()


if __name__ == "__main__":
    sys.exit(main())
