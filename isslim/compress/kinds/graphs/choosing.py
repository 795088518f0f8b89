"""Which outputs of a graph are compared and which of them judge, and which layers no judge sees.

Left out are outputs that are drawn anew at every run and those that are not finite; `sight` finds
them. Every axis is silenced by itself, and what then changes sees it. An axis that only a state of
the caller sees is judged by that state; one that nothing sees stays as it is: a model whose layer
is destroyed would else pass for an equal one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isslim.compress.errors import OutputsUnusable, RunsUnusable
from isslim.compress.kinds.graphs.recorded import Recorded
from isslim.compress.kinds.graphs.sight import SEEN, change_when_masked, random_operators
from isslim.compress.onnx.network import GraphNetwork
from isslim.runtime.graphs.recorded_inputs import GraphSession

MASKED_BYTES = 1 << 30
"""Of graphs that are written to silence axis by axis; where that is not enough, all axes are
silenced together."""
LOOKED_AT = 32
"""Runs, spread over all, on which an output may first show that it sees an axis; if none does, the
others are looked at too."""


@dataclass(frozen=True)
class Choice:
    """What judges.

    Attributes:
        compared: outputs that a proof compares.
        evaluated: of those, the ones that judge.
        unseen: axes that none of them sees, each with the reason why it stays as it is.
        notes: a line on every output that judges nothing, and why.
    """

    compared: list[str]
    evaluated: list[str]
    unseen: dict[str, str]
    notes: list[str]


def choose(
    network: GraphNetwork,
    graph: GraphSession,
    runs: Recorded,
    wanted: Sequence[str],
    size_bytes: int,
) -> Choice:
    """Chooses among the outputs.

    Args:
        network: the original.
        graph: the same, opened.
        runs: of it.
        wanted: the outputs that the recipe names; none: all but states of the caller.
        size_bytes: of the graph's file.

    Raises:
        RunsUnusable: when the recipe names an output that is not there, or is none of numbers.
        OutputsUnusable: when no output can be compared, or none sees what could be removed.
    """
    useless = {name: f"output {name} {_drawn(network, name)}" for name in runs.redrawn}
    useless |= {
        name: f"output {name} of the original is not finite {line}"
        for name, line in runs.not_finite.items()
    }
    texts = [name for name, (kind, _) in graph.outputs.items() if kind == "tensor(string)"]
    numbers = [name for name in graph.outputs if name not in texts]
    if absent := [name for name in wanted if name not in numbers]:
        raise RunsUnusable(
            f"the recipe judges by {', '.join(absent)}; outputs of numbers are {', '.join(numbers)}"
        )
    compared = [name for name in numbers if name not in useless]
    if refused := [useless[name] for name in wanted if name in useless]:
        there = (
            f"the recipe may name {', '.join(compared)}"
            if compared
            else "and no other output is left"
        )
        raise OutputsUnusable(f"{'; '.join(refused)}: it cannot judge; {there}", refused)
    if not compared:
        raise OutputsUnusable(
            _nothing_left(runs, list(useless.values())), [*useless.values(), *runs.left_out]
        )
    states = network.state_outputs()
    evaluated = list(wanted) or [name for name in compared if name not in states] or compared
    unseen, added = _unseen(network, graph, runs, evaluated, [] if wanted else compared, size_bytes)
    if len(unseen) == len(network.declaration().axes):
        raise OutputsUnusable(
            f"{', '.join(evaluated)} {'does' if len(evaluated) == 1 else 'do'} not change when the "
            "units of the recurrent layers are "
            "silent, so a destroyed model would pass for an equal one: "
            f"{'name other `outputs`, or ' if wanted else ''}send "
            "inputs on which they matter",
            [*(f"{axis}: {reason}" for axis, reason in unseen.items()), *useless.values()],
        )
    return Choice(
        compared,
        evaluated + added,
        unseen,
        [f"{line}: it judges and proves nothing" for line in useless.values()],
    )


def _drawn(network: GraphNetwork, name: str) -> str:
    operators = random_operators(network.source.structure, name)
    return "is drawn anew at every run" + (f" ({', '.join(operators)})" if operators else "")


def _nothing_left(runs: Recorded, lines: list[str]) -> str:
    description = "; ".join(lines)
    if runs.redrawn:
        return (
            f"{description}: nothing is left to compare. Export the graph in evaluation mode "
            "(`model.eval()`), with its noise as an "
            "input, or with an output from before it is added"
        )
    return f"{description}: nothing is left to compare. Send inputs on which the model itself gives numbers"


def _unseen(
    network: GraphNetwork,
    graph: GraphSession,
    runs: Recorded,
    evaluated: Sequence[str],
    others: Sequence[str],
    size_bytes: int,
) -> tuple[dict[str, str], list[str]]:
    """Axes that no judge sees, and other outputs that see axes which no judge does, to judge as well."""
    axes = list(network.declaration().axes)
    groups = [[axis] for axis in axes] if len(axes) * size_bytes <= MASKED_BYTES else [axes]
    everything = [*runs.held_out, *runs.calibration]
    first = sorted({round(each) for each in np.linspace(0, len(everything) - 1, LOOKED_AT)})
    # Neighbours may all take one branch of the graph.
    tried = [
        everything[place] for place in [*first, *sorted(set(range(len(everything))) - set(first))]
    ]
    names = list(dict.fromkeys([*evaluated, *others]))
    unseen, added = dict[str, str](), list[str]()
    for group in groups:
        changes = change_when_masked(network, group, graph, tried, list(evaluated))
        if max(changes.values()) > SEEN:
            continue
        rest = [name for name in names if name not in evaluated]
        changes = change_when_masked(network, group, graph, tried, rest) if rest else {}
        seeing = [name for name, change in changes.items() if change > SEEN]
        added += seeing
        if not seeing:
            description = f"{', '.join(names)} {'does' if len(names) == 1 else 'do'} not change when all its units are silent"
            unseen |= dict.fromkeys(group, f"{description}: nothing could judge what becomes of it")
    return unseen, list(dict.fromkeys(added))
