"""Large bodies of runs: only a few are in memory at once, by whatever protocol they come."""

from __future__ import annotations

from isslim.service.problems import RequestError

LARGE_AT_ONCE = 4
"""Of all processes together; each takes at least one."""


class LargeBodies:
    """Counts the bodies that are larger than those of ordinary requests.

    Args:
        ordinary: bytes above which a body is large.
        at_once: how many there may be.
    """

    def __init__(self, ordinary: int, at_once: int = LARGE_AT_ONCE) -> None:
        self.ordinary, self.at_once = ordinary, at_once
        self.count = 0


class LargePlace:
    """The place of one body among the large ones, if it needs one.

    Args:
        large: all of them.
    """

    def __init__(self, large: LargeBodies) -> None:
        self._large, self._is_taken = large, False

    def take(self) -> RequestError | None:
        """Takes it, unless it has; or returns why there is none."""
        large = self._large
        if self._is_taken:
            return None
        if large.count >= large.at_once:
            return RequestError(
                "overloaded",
                f"{large.at_once} runs of more than {large.ordinary:,} bytes are being read or "
                "run; try again in a second",
            )
        self._is_taken = True
        large.count += 1
        return None

    def give_back(self) -> None:
        """Gives it back, if it was taken."""
        self._large.count -= self._is_taken
        self._is_taken = False
