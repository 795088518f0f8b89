"""`python -m isslim.compress`: what a person starts by hand, without service and worker."""

from __future__ import annotations

import argparse
import sys

from isslim.compress.commands import cut, train
from isslim.compress.errors import CompressError


def parser_of() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="python -m isslim.compress", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train.declare(commands)
    cut.declare(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and runs the command; returns the exit status."""
    parser = parser_of()
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except (CompressError, ValueError, OSError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
