"""Selects a graph's recorded runs by size, or adapts them to another size.

The meaning of a dimension is known only from the name that exporters give to free dimensions
(`batch`, `steps`, `seq_len`, `time`). A recorded run is adapted to other sizes by repeating or
cutting it along such dimensions: the values stay those of real runs, only their number changes.
Where no name identifies steps or sequences, nothing is guessed, and only the recorded runs can be
timed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphInterface, NamedArrays
from isslim.runtime.shape import Shape, Which

Role = Literal["steps", "batch"]

_ROLES: dict[Role, re.Pattern[str]] = {
    "batch": re.compile(r"batch|bsz|n_b|sequences|(^|_)bs($|_)|^[bn]$", re.IGNORECASE),
    "steps": re.compile(r"step|seq(?!uences)|time|len|frame|token|word|^[tsl]$", re.IGNORECASE),
}
"""Substrings of free dimensions' names; `batch` comes first, for names like `batch_sequence`."""
_LENGTHS = re.compile(r"len|size|steps", re.IGNORECASE)
"""Names of inputs that hold the lengths of sequences."""


def runs_to_time(runs: Sequence[NamedArrays]) -> dict[Which, NamedArrays]:
    """The median run, and the smallest and the largest where their sizes differ from it.

    Args:
        runs: at least one.
    """
    ordered = sorted(runs, key=entries)
    found: dict[Which, NamedArrays] = {"median": ordered[(len(ordered) - 1) // 2]}
    others: tuple[tuple[Which, NamedArrays], ...] = (
        ("smallest", ordered[0]),
        ("largest", ordered[-1]),
    )
    for which, run in others:
        if entries(run) != entries(found["median"]):
            found[which] = run
    return found


def entries(run: Mapping[str, NDArray[Any]]) -> int:
    """The number of entries of all inputs together."""
    return sum(array.size for array in run.values())


def run_of_shape(
    ports: GraphInterface, runs: Sequence[NamedArrays], shape: Shape, *, random: bool = False
) -> tuple[NamedArrays, str]:
    """The run to time.

    Args:
        ports: of the graph.
        runs: recorded ones, as `checked` gives them.
        shape: the requested shape.
        random: whether the runs are random instead of recorded.

    Returns:
        The run, and its description with the shapes of its inputs.

    Raises:
        InputsRefused: when no such run was recorded, or none can be adapted to that shape; the
            issue states what is possible.
    """
    there = runs_to_time(runs)
    if shape.which not in there:
        kept = ", ".join(f"{which} ({_describe(run)})" for which, run in there.items())
        raise InputsRefused(
            [
                f"no run of another size than the median one is kept as '{shape.which}'; there is: "
                f"{kept}"
            ]
        )
    run, words = there[shape.which], f"the {shape.which} {'random' if random else 'recorded'} run"
    asked: dict[Role, int | None] = {"steps": shape.steps, "batch": shape.batch}
    wanted = {role: size for role, size in asked.items() if size is not None}
    if wanted:
        run = _resized(ports, run, wanted)
        words += ", repeated or cut"
    return run, f"{words} ({_describe(run)})"


def sizes(ports: GraphInterface, run: NamedArrays) -> dict[Role, int]:
    """The numbers of steps and sequences of a run, as far as the names of the dimensions show them.

    Args:
        ports: of the graph.
        run: one that the graph takes.
    """
    found: dict[Role, int] = {}
    for role in get_args(Role):
        counted = {run[name].shape[axis] for name, axis, _ in _free(ports, role)}
        if len(counted) == 1:
            found[role] = counted.pop()
    return found


def _free(ports: GraphInterface, role: Role) -> list[tuple[str, int, str]]:
    """Input, index and name of every free dimension that counts this."""
    return [
        (name, axis, size)
        for name, (_, shape) in ports.inputs.items()
        for axis, size in enumerate(shape)
        if isinstance(size, str) and _role(size) == role
    ]


def _role(name: str) -> Role | None:
    return next((role for role, pattern in _ROLES.items() if pattern.search(name)), None)


def _resized(ports: GraphInterface, run: NamedArrays, wanted: Mapping[Role, int]) -> NamedArrays:
    """A run adapted to other numbers of steps or sequences."""
    before = sizes(ports, run)
    if issues := [_impossible(ports, run, role) for role in wanted if role not in before]:
        raise InputsRefused(issues)
    made = dict(run)
    for role, size in wanted.items():
        for name, axis, _ in _free(ports, role):
            made[name] = np.take(made[name], np.arange(size) % before[role], axis=axis)
    if "steps" in wanted:
        along = {name for name, _, _ in _free(ports, "steps")}
        for name, array in made.items():
            if (
                name not in along
                and _LENGTHS.search(name)
                and array.dtype.kind in "iu"
                and array.ndim <= 1
            ):
                # A sequence that filled its steps still fills them; a shorter one is cut where they
                # end.
                filled = array == before["steps"]
                made[name] = np.where(
                    filled, wanted["steps"], np.minimum(array, wanted["steps"])
                ).astype(array.dtype)
    return made


def _impossible(ports: GraphInterface, run: NamedArrays, role: Role) -> str:
    """Why a run cannot have another number of steps or sequences, and what is possible."""
    free = _free(ports, role)
    dims = "; ".join(f"'{name}' {shape}" for name, (_, shape) in ports.inputs.items())
    if free:
        several = ", ".join(
            f"{run[name].shape[axis]} ('{size}' of '{name}')" for name, axis, size in free
        )
        return (
            f"several dimensions count {role}, of different sizes: {several}; leave `{role}` out "
            "to time the recorded run"
        )
    return (
        f"no free dimension of the graph's inputs is named as one that counts {role}: {dims}; "
        "leave "
        f"`{role}` out to time a recorded run ({_describe(run)}), or export the graph with free "
        "dimensions named `batch` and `steps`"
    )


def _describe(run: NamedArrays, most: int = 3) -> str:
    """Shapes of inputs in words, such as `x: 1 x 20 x 16`."""
    description = [
        f"{name}: {' x '.join(map(str, array.shape)) or 'one number'}"
        for name, array in run.items()
    ]
    more = len(description) - most
    return ", ".join([*description[:most], *([f"and {more} more"] if more > 0 else [])])
