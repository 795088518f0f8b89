"""Who asks: the holder of a key, or anybody where no keys are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import Request

from isslim.types.access import KeyLimits, Scope

PLACE = "isslim.caller"
"""Where a request's scope holds its caller."""


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        name: of the key; None: no keys are asked for, and everybody may do everything; empty, or
            `?`, and without scopes: there is no key, or an unknown one.
        scopes: of the key.
        remote: address of the sender.
        limits: of the key.
        digest: of the key.
    """

    name: str | None
    scopes: frozenset[Scope]
    remote: str
    limits: KeyLimits = field(default_factory=KeyLimits)
    digest: str = ""

    @property
    def rules(self) -> bool:
        """Whether everything is the caller's to see and to change."""
        return self.name is None or Scope.ADMIN in self.scopes

    @property
    def sees(self) -> str | None:
        """The key whose jobs and sweeps alone are listed for the caller; None: everybody's are."""
        return None if self.rules else self.name

    def owns(self, owner: str | None) -> bool:
        """Whether something is the caller's to see and to change.

        Args:
            owner: whose it is; None: nobody's, since no keys were asked for when it was made.
        """
        return self.rules or (owner is not None and owner == self.name)


def caller_of(request: Request) -> Caller:
    """Who asks a request."""
    caller: Caller = request.scope[PLACE]
    return caller
