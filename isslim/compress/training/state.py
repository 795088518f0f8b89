"""The states of recurrent layers, carried from one segment of a text to the next."""

from __future__ import annotations

from torch import Tensor

State = list[tuple[Tensor, ...]]
"""Per recurrent layer its states, each (1, B, H)."""


def detach(state: State) -> State:
    """The same state, cut from the graph: truncated back-propagation with carried state."""
    return [tuple(each.detach() for each in layer) for layer in state]
