"""The worker's child with a clock that looks but for a moment: the same code, seven rounds of a comparison instead of seconds.

`python -m tests.hasty <folder>`, where no test reads what was timed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from isslim.compress.worker.child import main
from isslim.runtime import clock

SECONDS = 0.1
"""What takes the place of `isslim.runtime.clock.SECONDS`; `LEAST_ROUNDS` are run anyhow."""
CHILD = {"ISS_CHILD_COMMAND": json.dumps([sys.executable, "-m", "tests.hasty"])}
"""The environment of a worker whose child this is to be."""

if __name__ == "__main__":
    clock.SECONDS = SECONDS
    sys.exit(main(Path(sys.argv[1]), inspecting=sys.argv[2:] == ["inspect"]))
