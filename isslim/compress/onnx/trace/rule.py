"""A rule: the operators that it is for, how axes pass through them, and where they cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isslim.compress.onnx.trace.context import RuleContext

Apply = Callable[[RuleContext], None]
"""Lays out the node's outputs and notes what must change; raises `Unfollowable` where axes end."""


@dataclass(frozen=True)
class Rule:
    """How axes pass through some operators.

    Attributes:
        operators: of the standard domain.
        apply: see `Apply`.
        obstacles: why axes may not pass, in the words that a report gives.
    """

    operators: tuple[str, ...]
    apply: Apply
    obstacles: tuple[str, ...]

    @property
    def description(self) -> str:
        """What the operators do to axes, in one line."""
        return (self.apply.__doc__ or "").partition("\n")[0]


def rule(*operators: str, obstacles: tuple[str, ...] = ()) -> Callable[[Apply], Rule]:
    """Makes a rule of a function, whose docstring's first line describes it.

    Args:
        operators: that it is for.
        obstacles: the texts of the `Unfollowable` that it raises by itself.
    """

    def made(apply: Apply) -> Rule:
        return Rule(operators, apply, obstacles)

    return made
