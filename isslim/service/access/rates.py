"""How many requests a key or an address may send in a time, by the library `limits`."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path

import limits

from isslim.service.access.caller import Caller
from isslim.service.access.counters import SharedCounters, hashed
from isslim.service.problems import RequestError

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
        self._rate, self._counters = rate, SharedCounters(folder)

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
        is_known = bool(caller.scopes) and caller.name is not None
        who = f"key/{caller.name}" if is_known else f"from/{_network(caller.remote)}"
        amount, seconds, key = _window(rate, who)
        counted, end = self._counters.count(key, seconds)
        reset = max(1, math.ceil(end - time.monotonic()))
        left = Allowance(amount, max(0, amount - counted), reset)
        if counted > amount:
            whose = f"the key '{caller.name}'" if is_known else "an address"
            raise RateExceeded(left, rate, whose)
        return left


@lru_cache(maxsize=4096)
def _window(rate: str, who: str) -> tuple[int, int, int]:
    """What a rate means for a sender: requests, seconds, the hash of its counter."""
    item = limits.parse(rate)
    return item.amount, item.get_expiry(), hashed(item.key_for(who))


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    """An address, or of IPv6 the network that is its holder's."""
    if ":" not in address:
        return address
    try:
        return str(ip_network((address, NETWORK_BITS), strict=False))
    except ValueError:
        return address
