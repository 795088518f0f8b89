"""Which arguments and outputs of a module are the states of a recurrent layer, as they are.

A layer that is made smaller takes and gives smaller states, while a small graph keeps the sizes
that its caller knows: to compare both, states are translated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from isslim.runtime.graphs.recorded_inputs import NamedArrays


@dataclass(frozen=True)
class PassedStates:
    """States that pass between a module's caller and its layers.

    Attributes:
        inputs: per graph input that is an initial state the name of the layer.
        outputs: per output, by its position, that is a final state the name of the layer.
        parameters: per parameter that is an initial state, the same for the whole batch, the name
            of the layer.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[int, str]
    parameters: Mapping[str, str]


@dataclass
class ObservedStates:
    """The states that layers got and gave in one call.

    Attributes:
        taken: initial states with the name of the layer.
        given: final states with the name of the layer.
    """

    taken: list[tuple[str, Tensor]] = field(default_factory=list)
    given: list[tuple[str, Tensor]] = field(default_factory=list)

    def passed(
        self,
        module: nn.Module,
        inputs: Mapping[str, Tensor],
        outputs: Sequence[tuple[str, Tensor]],
    ) -> PassedStates:
        """Which of a call's inputs and outputs they are, and which parameters.

        Args:
            module: that was called.
            inputs: the tensors that the module was called with.
            outputs: the tensors that it returned.
        """
        return PassedStates(
            {
                name: layer
                for name, tensor in inputs.items()
                for layer, state in self.taken
                if _same(tensor, state)
            },
            {
                position: layer
                for position, (_, tensor) in enumerate(outputs)
                for layer, state in self.given
                if _same(tensor, state)
            },
            {
                name: layer
                for name, parameter in module.named_parameters()
                for layer, state in self.taken
                if _begins(parameter, state)
            },
        )


@contextmanager
def observed_states(module: nn.Module) -> Iterator[ObservedStates]:
    """Notes the states of every recurrent layer while the module is called."""
    observed = ObservedStates()
    handles = []
    for name, part in module.named_modules():
        if isinstance(part, nn.RNNBase):

            def before(
                _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = name
            ) -> None:
                given = args[1] if len(args) > 1 else kwargs.get("hx")
                observed.taken += [(name, state) for state in _tensors(given)]

            def after(_: nn.Module, args: Any, made: Any, name: str = name) -> None:
                if isinstance(made, tuple) and len(made) == 2:
                    observed.given += [(name, state) for state in _tensors(made[1])]

            handles.append(part.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(part.register_forward_hook(after))
    try:
        yield observed
    finally:
        for handle in handles:
            handle.remove()


def small_states(
    inputs: NamedArrays, states: PassedStates, kept: Mapping[str, Sequence[Tensor]]
) -> dict[str, Tensor]:
    """Recorded inputs for a small module: of a state only the entries of units that are left.

    Args:
        inputs: of one call.
        states: which of them are states.
        kept: per layer and for each row of its states the units (K,) that are left; -1 for a unit
            without weights, whose state is zero.
    """
    found = {}
    for name, array in inputs.items():
        tensor = torch.from_numpy(array.copy())
        rows = kept.get(states.inputs.get(name, ""))
        found[name] = tensor if rows is None else small_state(tensor, rows)
    return found


def small_state(full: Tensor, rows: Sequence[Tensor]) -> Tensor:
    """A state (D L, ..., H) without the units that are gone.

    Args:
        full: at full size.
        rows: see `small_states`.
    """
    left = [
        torch.where(units >= 0, row[..., units], torch.zeros(()))
        for row, units in zip(full, rows, strict=True)
    ]
    return torch.stack(left)


def full_state(small: Tensor, rows: Sequence[Tensor], units: int) -> Tensor:
    """A small state at full size, zeros at removed units.

    Args:
        small: (D L, ..., K).
        rows: see `small_states`.
        units: of the full layer.
    """
    whole = small.new_zeros((*small.shape[:-1], units))
    for index, kept in enumerate(rows):
        real = kept >= 0
        whole[index][..., kept[real]] = small[index][..., real]
    return whole


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return list(value) if isinstance(value, tuple | list) else []


def _begins(parameter: Tensor, state: Tensor) -> bool:
    """Whether a parameter holds an initial state (D L, B, H) or (D L, H) of any batch."""
    rows = state[:, :1] if state.dim() == 3 else state[:, None]
    if parameter.numel() != rows.numel() or parameter.shape[-1:] != rows.shape[-1:]:
        return False
    same = parameter.reshape(rows.shape).expand_as(state if state.dim() == 3 else rows)
    return torch.equal(same, state if state.dim() == 3 else rows)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one, or views of the same numbers in the same order."""
    return (
        one.shape == other.shape
        and one.stride() == other.stride()
        and one.data_ptr() == other.data_ptr()
    )
