"""Options of a recipe that have an effect only with some values of another option."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from isslim.types.graph_metrics import DECIDING, ON_TARGETS
from isslim.types.recipe import Recipe

ONLY_WITH: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "blank": ("metric", ("ctc_error_rate",)),
        "decision_axis": ("metric", ("argmax", "cosine", *ON_TARGETS)),
        "learner": ("mode", ("learn",)),
        "learn_epochs": ("mode", ("learn",)),
        "minutes": ("mode", ("calibrate",)),
        "strength": ("learner", ("group_lasso",)),
        "threshold": ("metric", DECIDING),
        "vary_inputs": ("mode", ("calibrate",)),
    }
)
"""By option: the other one, and the values of it with which the first has an effect."""


def overruled(recipe: Recipe, names: Collection[str]) -> list[str]:
    """A line for each option that another one leaves without effect, with what to do.

    Args:
        recipe: the options.
        names: those that were asked for.
    """
    lines = []
    for name in sorted(ONLY_WITH.keys() & names):
        other, values = ONLY_WITH[name]
        found = getattr(recipe, other)
        if found not in values:
            wanted = " or ".join(f"`{other}` {value!r}" for value in values)
            lines.append(
                f"`{name}` has no effect with `{other}` {found!r}: leave it out, or ask for "
                f"{wanted}"
            )
    return lines
