"""Runs a worker: `python -m isslim.compress.worker`."""

import sys

from isslim.compress.worker.main import main

if __name__ == "__main__":
    sys.exit(main())
