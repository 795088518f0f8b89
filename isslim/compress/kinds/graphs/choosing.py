"""Which outputs of a graph are compared, which are evaluated, and which axes they depend on.

Outputs that are random and outputs that are not finite are left out; `output_checks` finds them.
Every axis is masked by itself: the outputs that change depend on it. Where only a state that is
returned to the caller depends on an axis, that state is evaluated as well. An axis that no output
depends on stays as it is: a model with that layer destroyed would otherwise pass as equal to the
original.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isslim.compress.errors import OutputsUnusable, RunsUnusable
from isslim.compress.kinds.graphs.output_checks import (
    SEEN,
    changes,
    random_operators,
    without_units,
)
from isslim.compress.kinds.graphs.recorded import Recorded
from isslim.compress.kinds.graphs.running import temporary_session
from isslim.compress.onnx.network import GraphNetwork
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays
from isslim.types.axis_names import components_of, is_channels

MASKED_BYTES = 1 << 30
"""Total size of the graphs written to mask axis by axis; above it, all axes of units are masked
together, or all axes of channels."""
PROBED_RUNS = 32
"""Runs, spread over all, on which the dependence on an axis is tried first; where no output changes
on them, the others are tried too."""


@dataclass(frozen=True)
class Choice:
    """The outputs to compare and to evaluate.

    Attributes:
        compared: outputs that a proof compares.
        evaluated: of those, the ones that the quality metric is taken of.
        unseen: axes that none of them depends on, each with the reason why it stays as it is.
        notes: a line on every output that is not used, with the reason.
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
        graph: a session of the same graph.
        runs: its recorded runs.
        wanted: the outputs that the recipe names; empty: all except states returned to the caller.
        size_bytes: of the graph's file.

    Raises:
        RunsUnusable: when the recipe names an output that does not exist or holds no numbers.
        OutputsUnusable: when no output can be compared, or none depends on what could be removed.
    """
    useless = {name: f"output {name} {_random(network, name)}" for name in runs.redrawn}
    useless |= {
        name: f"output {name} of the original is not finite {line}"
        for name, line in runs.not_finite.items()
    }
    texts = [name for name, (kind, _) in graph.outputs.items() if kind == "tensor(string)"]
    numbers = [name for name in graph.outputs if name not in texts]
    if absent := [name for name in wanted if name not in numbers]:
        raise RunsUnusable(
            f"the recipe's `outputs` name {', '.join(absent)}; the graph's numeric outputs are "
            f"{', '.join(numbers)}"
        )
    compared = [name for name in numbers if name not in useless]
    if refused := [useless[name] for name in wanted if name in useless]:
        there = (
            f"the recipe may name {', '.join(compared)}"
            if compared
            else "and no other output is left"
        )
        raise OutputsUnusable(f"{'; '.join(refused)}: it cannot be evaluated; {there}", refused)
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
            "units of the recurrent layers are masked, so a destroyed model would pass for an "
            "equal one: "
            f"{'name other `outputs`, or ' if wanted else ''}send "
            "inputs on which they matter",
            [*(f"{axis}: {reason}" for axis, reason in unseen.items()), *useless.values()],
        )
    return Choice(
        compared,
        evaluated + added,
        unseen,
        [f"{line}: it is neither evaluated nor verified" for line in useless.values()],
    )


def _random(network: GraphNetwork, name: str) -> str:
    operators = random_operators(network.source.structure, name)
    return "differs between two runs of the same inputs" + (
        f" ({', '.join(operators)})" if operators else ""
    )


def _nothing_left(runs: Recorded, lines: list[str]) -> str:
    description = "; ".join(lines)
    if runs.redrawn:
        return (
            f"{description}: nothing is left to compare. Export the graph in evaluation mode "
            "(`model.eval()`), with its noise as an "
            "input, or with an output from before it is added"
        )
    return (
        f"{description}: nothing is left to compare. "
        "Send inputs on which the model itself gives numbers"
    )


def _unseen(
    network: GraphNetwork,
    graph: GraphSession,
    runs: Recorded,
    evaluated: Sequence[str],
    others: Sequence[str],
    size_bytes: int,
) -> tuple[dict[str, str], list[str]]:
    """Axes that no output depends on, and further outputs that have to be evaluated.

    Returns:
        The axes that neither `evaluated` nor `others` depend on, each with the reason; and those of
        `others` that depend on an axis on which no evaluated output does.
    """
    axes = list(network.declaration().axes)
    units = [axis for axis in axes if not is_channels(axis)]
    channels = [axis for axis in axes if is_channels(axis)]
    # Units first: of them there are few, and channels are many.
    groups, room = list[list[str]](), MASKED_BYTES
    for kind in (units, channels):
        apart = len(kind) * size_bytes <= room
        groups += [[axis] for axis in kind] if apart else [kind]
        room -= len(kind) * size_bytes if apart else size_bytes
    # A layer may lie in a branch that few runs take. Of one that the held-out runs do not take
    # nobody would notice what is lost; of one that the calibration runs do not take nobody would
    # know what is needed.
    parts = {"held-out": _spread(runs.held_out), "calibration": _spread(runs.calibration)}
    names = list(dict.fromkeys([*evaluated, *others]))
    unseen, added = dict[str, str](), list[str]()
    for group in groups:
        with temporary_session(without_units(network, group)) as masked:
            seeing = {
                part: _seeing(masked, graph, tried, evaluated, names)
                for part, tried in parts.items()
            }
        if all(seeing.values()):
            added += [name for name in seeing["held-out"] if name not in evaluated]
            continue
        blind = [part for part, found in seeing.items() if not found]
        where = "" if len(blind) == len(parts) else f" on the {blind[0]} runs"
        reason = (
            f"{', '.join(names)} {'does' if len(names) == 1 else 'do'} not change{where} when all "
            f"its {components_of(group[0])} are masked, so a loss of quality there would go "
            "unnoticed"
        )
        unseen |= dict.fromkeys(group, reason)
    return unseen, list(dict.fromkeys(added))


def _seeing(
    masked: GraphSession,
    graph: GraphSession,
    runs: Sequence[NamedArrays],
    evaluated: Sequence[str],
    names: Sequence[str],
) -> list[str]:
    """The outputs that change with what is masked; others than the evaluated ones if none does."""
    found = changes(masked, graph, runs, evaluated)
    others = [name for name in names if name not in evaluated]
    if others and max(found.values()) <= SEEN:
        found = changes(masked, graph, runs, others)
    return [name for name, change in found.items() if change > SEEN]


def _spread(runs: Sequence[NamedArrays]) -> list[NamedArrays]:
    """Runs in the order in which they are tried.

    Neighbouring ones may all take one branch of the graph: the first are spread over all.
    """
    first = sorted({round(each) for each in np.linspace(0, len(runs) - 1, PROBED_RUNS)})
    return [runs[place] for place in [*first, *sorted(set(range(len(runs))) - set(first))]]
