"""What a graph is distilled with: recordings in two parts, and losses; or why it cannot be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.comparing import Outputs
from isslim.compress.kinds.graphs.distilling.examples import Examples, divide
from isslim.compress.kinds.graphs.distilling.input_kinds import initial_states, input_kinds
from isslim.compress.kinds.graphs.distilling.joining import joint_of
from isslim.compress.kinds.graphs.distilling.losses import OutputLosses, Sums, added
from isslim.compress.kinds.graphs.distilling.output_kinds import output_kinds
from isslim.compress.kinds.graphs.distilling.passages import Passage, passages_of
from isslim.compress.kinds.graphs.recorded import Recorded
from isslim.compress.kinds.graphs.running import temporary_session
from isslim.compress.kinds.graphs.streams import Stream, run_stream
from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from isslim.compress.kinds.graphs.trainable.proof import prove
from isslim.compress.onnx.network import GraphNetwork
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays
from isslim.types.recipe import Recipe

PROVEN_RUNS = 4
"""Runs on which torch is compared with ONNX Runtime."""
FEWEST, MOST, NUMBERS = 24, 512, 1 << 21
"""Passages that networks are compared on, of the training part and held back: as many as hold so
many numbers, and at least and at most so many."""


@dataclass(frozen=True)
class Lessons:
    """What is learnt from, and what networks are compared on.

    Attributes:
        examples: to learn from.
        known: some of the passages that are learnt from, as they were recorded.
        held_back: passages that are not trained on.
        losses: of the outputs that count.
        recordings: number of passages that are learnt from.
        notes: what of the recordings, or of the graph, limits what is learnt.
    """

    examples: Examples
    known: Sequence[Stream]
    held_back: Sequence[Stream]
    losses: OutputLosses
    recordings: int
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The outputs that count, and the states that are passed on."""
        own = list(self.losses.kinds)
        return [*own, *(name for name in self.examples.carried if name not in own)]

    @property
    def counted(self) -> str:
        """The number of passages that are learnt from, in words."""
        many = "" if self.recordings == 1 else "s"
        what = f"stream{many} of runs" if self.examples.carried else f"sequence{many}"
        return f"{self.recordings:,} {what}"

    def change(self, network: GraphNetwork, streams: Sequence[Stream]) -> float:
        """How far a network's outputs are from the original's, in ONNX Runtime.

        Args:
            network: original, or cut.
            streams: each run with the network's own states.

        Returns:
            The root of the loss, on the scale of `output_change`; infinity where an output is not
            finite.
        """
        sums: dict[str, Sums] = {}
        with temporary_session(network.model()) as graph:
            for stream in streams:
                found = run_stream(graph, stream.runs, stream.carried, self.names)
                for one, other in zip(found, stream.wanted, strict=True):
                    made = {name: torch.from_numpy(one[name]) for name in self.losses.kinds}
                    sums = added(sums, self.losses.sums(made, other))
        loss = float(self.losses.mean(sums))
        return math.sqrt(loss) if math.isfinite(loss) else math.inf


def lessons_of(
    network: GraphNetwork,
    graph: GraphSession,
    runs: Recorded,
    evaluated: Sequence[str],
    recipe: Recipe,
) -> Lessons:
    """What a graph is distilled with.

    Args:
        network: the original.
        graph: a session of the same graph.
        runs: recorded inputs; those that are held out are not looked at.
        evaluated: names of the outputs that count.
        recipe: whether recordings are also learnt from in variations, and whether they are streams.

    Raises:
        NotTrainable: when torch does not compute the graph, no output teaches anything, or the
            recordings are none or too few.
    """
    if runs.random:
        raise NotTrainable(
            "no inputs were sent, and what a graph answers to random ones says nothing of what it "
            "has to answer: send recorded inputs, as `calibration`"
        )
    names = [name for name in evaluated if graph.outputs[name][0] in _FLOATS]
    if not names:
        raise NotTrainable(
            f"{', '.join(evaluated)}: whole numbers or truth values, through which no gradient "
            "reaches a weight: let the graph also give what they are decided by"
        )
    carried = _carried(network, graph, runs.calibration)
    states = [name for name in carried if name not in names]
    _prove(network, graph, runs.calibration, [*names, *states])
    joint = joint_of(graph, runs.calibration, [*names, *states])
    passages = passages_of(graph, runs.calibration, carried, joint, recipe.stream)
    divided = divide(passages)
    if divided is None:
        raise NotTrainable(
            "one recorded run is there to learn from, beside those that quality is evaluated on, "
            "and some of what is learnt from is held back to compare what was learnt: send several "
            "runs more"
        )
    apart = {} if joint is None else joint.along
    kinds = input_kinds(network, runs.calibration, apart) if recipe.vary_inputs else {}
    examples = Examples(graph, divided.training, kinds, carried, names, joint)
    held_back = [examples.answered(each) for each in _spread(divided.held_back)]
    # They are read for a remark alone: as many as there are of the others.
    known = [examples.answered(each) for each in _spread(divided.training, len(held_back))]
    kinds_of_outputs = output_kinds(network, names)
    losses = OutputLosses.of(kinds_of_outputs, _answers([*known, *held_back]))
    notes = _notes(network, carried)
    return Lessons(examples, known, held_back, losses, len(divided.training), notes)


_FLOATS = {"tensor(float)", "tensor(double)", "tensor(float16)"}


def _carried(
    network: GraphNetwork, graph: GraphSession, runs: Sequence[NamedArrays]
) -> dict[str, str]:
    """By output that holds a state, the input that it is passed to; none where one does not fit."""
    carried = network.carried_states()
    if not carried or not runs:
        return {}
    try:
        run_stream(graph, [runs[0], runs[0]], carried, list(carried))
    except InputsRefused:
        return {}
    return carried


def _notes(network: GraphNetwork, carried: Mapping[str, str]) -> tuple[str, ...]:
    """What is said of states that the caller passes, and that are not passed on in training."""
    if left := sorted(initial_states(network) - set(carried.values())):
        return (
            f"distilled run by run: which output {', '.join(left)} comes from is not recognised, "
            "so that errors which add up over a stream are not trained away",
        )
    return ()


def _prove(
    network: GraphNetwork, graph: GraphSession, runs: Sequence[NamedArrays], names: Sequence[str]
) -> None:
    student = TorchGraph.of(network.model(), names)
    if not student.weights.keys() & network.free_weights().keys():
        raise NotTrainable(f"{', '.join(names)}: no gradient of theirs reaches a weight")
    index = sorted({round(each) for each in np.linspace(0, len(runs) - 1, PROVEN_RUNS)})
    prove(student, graph, [runs[each] for each in index], names)


def _spread(passages: Sequence[Passage], most: int = MOST) -> list[Passage]:
    numbers = sum(array.size for run in passages[0] for array in run.values())
    count = min(most, max(FEWEST, min(MOST, NUMBERS // max(numbers, 1))))
    index = sorted({round(each) for each in np.linspace(0, len(passages) - 1, count)})
    return [passages[each] for each in index]


def _answers(streams: Sequence[Stream]) -> list[Outputs]:
    return [outputs for stream in streams for outputs in stream.wanted]
