"""How many requests a key or an address may send in a time, by the library `limits`."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path

import limits
from limits.strategies import FixedWindowRateLimiter

from isslim.service.access.caller import Caller
from isslim.service.access.counters import SharedCounters
from isslim.service.problems import RequestError

_parse = lru_cache(maxsize=256)(limits.parse)
NETWORK_BITS = 64
"""Of an IPv6 address, what its holder was given; the rest is the holder's own choice."""


@dataclass(frozen=True)
class Allowance:
    """What is left of a limit.

    Attributes:
        limit: requests in the window.
        remaining: of them.
        reset: whole seconds until the next window, at least 1.
    """

    limit: int
    remaining: int
    reset: int

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As headers of an answer."""
        return [
            (b"ratelimit-limit", b"%d" % self.limit),
            (b"ratelimit-remaining", b"%d" % self.remaining),
            (b"ratelimit-reset", b"%d" % self.reset),
        ]


class RateExceeded(RequestError):
    """A request too many.

    Attributes:
        allowance: of which nothing is left.
    """

    def __init__(self, allowance: Allowance, rate: str, whose: str) -> None:
        self.allowance = allowance
        super().__init__(
            "rate-limited",
            f"{whose} may send {rate} requests; the next one in {allowance.reset} s",
        )


class Rates:
    """Counts requests.

    Args:
        rate: of keys without a rate of their own, and of addresses; None: no limit.
        folder: that all processes share; None: there is one.
    """

    def __init__(self, rate: str | None, folder: Path | None) -> None:
        self._rate, self._limiter = rate, FixedWindowRateLimiter(SharedCounters(folder))

    def spend(self, caller: Caller) -> Allowance | None:
        """Counts a request.

        Args:
            caller: who asks; without a known key it is counted by its address.

        Returns:
            What is left; None: there is no limit.

        Raises:
            RateExceeded: when it is one too many.
        """
        rate = caller.limits.rate or self._rate
        if rate is None:
            return None
        item = _parse(rate)
        is_known = bool(caller.scopes) and caller.name is not None
        who = f"key/{caller.name}" if is_known else f"from/{_network(caller.remote)}"
        is_within = self._limiter.hit(item, who)
        end, remaining = self._limiter.get_window_stats(item, who)
        left = Allowance(item.amount, remaining, max(1, math.ceil(end - time.monotonic())))
        if not is_within:
            whose = f"the key '{caller.name}'" if is_known else "an address"
            raise RateExceeded(left, rate, whose)
        return left


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    """An address, or of IPv6 the network that is its holder's."""
    if ":" not in address:
        return address
    try:
        return str(ip_network((address, NETWORK_BITS), strict=False))
    except ValueError:
        return address
