"""Proof that a network computes what ONNX Runtime does, on recorded runs, before it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.comparing import difference
from isslim.compress.kinds.graphs.running import outputs_of
from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays

TOLERANCE = 1e-4
"""Largest difference of an output, relative to its largest entry where that is above 1: float32
sums in different orders."""


@dataclass(frozen=True)
class Proof:
    """That torch and ONNX Runtime gave the same.

    Attributes:
        error: the largest difference, see `TOLERANCE`.
        output: where it was found.
        runs: the number of runs that were compared.
    """

    error: float
    output: str
    runs: int


def prove(
    graph: TorchGraph,
    session: GraphSession,
    runs: Sequence[NamedArrays],
    outputs: Sequence[str],
) -> Proof:
    """Compares a network with ONNX Runtime.

    Args:
        graph: the network.
        session: of the same graph.
        runs: inputs.
        outputs: names of the outputs that count.

    Raises:
        NotTrainable: when there is nothing to compare, a run fails in torch, or an output differs
            by more than `TOLERANCE`; the detail names the operator, or the output and by how much.
        RunsUnusable: when ONNX Runtime cannot run the graph on one.
    """
    if not runs or not outputs:
        raise NotTrainable("there is no recorded run, or no output, to compare torch on")
    worst = Proof(-1.0, "", len(runs))
    for run, wanted in zip(runs, outputs_of(session, runs, outputs), strict=True):
        found = computed(graph, run, outputs)
        for name in outputs:
            error = difference([{name: found[name]}], [{name: wanted[name]}])
            if not error <= worst.error:
                worst = Proof(error, name, len(runs))
    if not worst.error <= TOLERANCE:
        raise NotTrainable(
            f"torch and ONNX Runtime differ in the output '{worst.output}': the largest difference "
            f"is {worst.error:.2e}, the tolerance {TOLERANCE:.0e}"
        )
    return worst


def computed(
    graph: TorchGraph, run: NamedArrays, outputs: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """The outputs of a network on a run, without gradients.

    Args:
        graph: the network.
        run: its inputs.
        outputs: names of the wanted outputs.

    Raises:
        NotTrainable: see `TorchGraph.forward`.
    """
    with torch.no_grad():
        made = graph(tensors(run), outputs)
    return {name: each.detach().cpu().numpy() for name, each in made.items()}


def tensors(run: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """A run's inputs as tensors (copies).

    Raises:
        NotTrainable: when one holds texts.
    """
    texts = [name for name, value in run.items() if value.dtype.kind not in "biuf"]
    if texts:
        raise NotTrainable(f"{', '.join(texts)}: texts, on which torch computes nothing")
    return {name: torch.from_numpy(np.array(value)) for name, value in run.items()}
