"""Runs the command line: `isslim`, or `python -m isslim.client`."""

from __future__ import annotations

import sys


def main() -> None:
    """Imports the command line and runs it; Ctrl-C while it is imported is no traceback."""
    try:
        from isslim.client.cli import main as run
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201 - typer may not be there yet
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
