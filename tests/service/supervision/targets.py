"""What the supervisor's tests let it run: `python -m tests.service.supervision.targets TARGET LOG`.

Each process writes a line with its place into the log.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from isslim.service.siblings import READY, Siblings
from isslim.service.supervision.supervisor import Supervisor


@dataclass(frozen=True)
class Target:
    """What one process does.

    Attributes:
        name: of its behaviour.
        log: a file.
    """

    name: str
    log: Path

    def __call__(self, place: int, connection: Connection) -> None:
        earlier = self.lines().count(f"{place}")
        with self.log.open("a") as file:
            file.write(f"{place}\n")
        if self.name == "fails" or (self.name == "fails-later" and place == 1):
            sys.exit(7)
        if self.name == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.name == "talks":
            Siblings(connection).tell("hello", place)
        siblings = Siblings(connection)
        siblings.listen({"hello": lambda sender: self.heard(place, sender)})
        siblings.tell(READY)
        if self.name == "hangs-once" and (place == 1 or earlier):
            while True:
                siblings.beat()
                time.sleep(0.1)
        time.sleep(0.1 if self.name == "ends-once" and place == 0 and not earlier else 60)

    def lines(self) -> list[str]:
        """What was written so far."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def heard(self, place: int, sender: int) -> None:
        """Writes down what another process said."""
        with self.log.open("a") as file:
            file.write(f"{place} heard {sender}\n")


if __name__ == "__main__":
    sys.exit(
        abs(
            Supervisor(
                target=Target(sys.argv[1], Path(sys.argv[2])),
                count=2,
                stop_seconds=-3.5,  # half a second until those that do not end are killed
                hang_seconds=1.0 if sys.argv[1] == "hangs-once" else math.inf,
                stopping=lambda: None,
                gone=lambda pid: None,
            ).run()
        )
    )
