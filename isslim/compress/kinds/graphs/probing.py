"""What a smaller graph loses of its outputs on calibration runs, to choose the sizes of its axes.

The loss is the squared relative change of the outputs, summed over them: squared errors of axes
that are cut independently of each other add up, where the change itself does not. It is the same
whatever the metric, since many small changes decide nothing in a metric of decisions.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from isslim.compress.contract import ProbeScale
from isslim.compress.kinds.graphs.comparing import Outputs
from isslim.compress.kinds.graphs.kept_units import WritesKeptUnits
from isslim.compress.kinds.graphs.recorded import Recorded
from isslim.compress.kinds.graphs.running import outputs_of, temporary_session
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.rewrite.narrow_layers import multiplied_out
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import NarrowPlace, NetworkAxes
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays
from isslim.types.manifest import Metric
from isslim.types.quality import output_change

SECONDS = 0.5
"""CPU time of the original on the runs of one measurement."""
FEWEST, MOST = 4, 512
"""Runs of one measurement, whatever they take."""
WAITING, MANY = 3.5, 8
"""How many times the multiply-adds of a recurrence count where a run has so many steps: each waits
for the step before it, where any other matrix reads all steps at once. Fitted to nine sizes of two
GRUs of 400 units on one thread, runs of 100 steps: 3.7 times (3.5 in the int8 form)."""
PRODUCT, LEAST_PRODUCT = 65_536, 2_048
"""Multiply-adds that take as long as one more product in a run of one step, and per step of a long
run at least. In int8 a product is quantized, multiplied and scaled, which takes 1 to 2 us; in that
time a processor with instructions for it does some 35,000 multiply-adds of LSTMs a us."""
TYPICAL = 0.1
"""The relative change that a budget of another metric is taken for."""


@dataclass(frozen=True)
class OutputLoss:
    """Compares graphs with the original on runs.

    Attributes:
        runs: of which outputs are compared.
        wanted: the original's outputs on them.
        names: of the outputs.
        seconds: CPU time of the original on one of the runs.
    """

    runs: Sequence[NamedArrays]
    wanted: Sequence[Outputs]
    names: Sequence[str]
    seconds: float

    @classmethod
    def on(
        cls, graph: GraphSession, runs: Sequence[NamedArrays], names: Sequence[str]
    ) -> OutputLoss:
        """A comparison on as many of some runs as take about `SECONDS`, drawn from all of them.

        Args:
            graph: the original.
            runs: to draw from.
            names: of the outputs that count.
        """
        drawn, wanted = list[NamedArrays](), list[Outputs]()
        began = time.process_time()
        for place in np.random.default_rng(0).permutation(len(runs))[:MOST].tolist():
            if len(drawn) >= FEWEST and time.process_time() - began > SECONDS:
                break
            drawn.append(runs[place])
            wanted += outputs_of(graph, [runs[place]], names)
        return cls(drawn, wanted, names, (time.process_time() - began) / max(len(drawn), 1))

    def of(self, network: GraphNetwork) -> float:
        """The squared relative change of the outputs of a network; 0 of the original."""
        with temporary_session(network.model()) as graph:
            found = outputs_of(graph, self.runs, self.names)
        return sum(
            output_change(
                [(one[name], other[name]) for one, other in zip(found, self.wanted, strict=True)]
            )
            ** 2
            for name in self.names
        )

    def felt(self, network: GraphNetwork, place: NarrowPlace) -> bool:
        """Whether the outputs depend on what is read in a place of a narrow layer.

        Args:
            network: the original.
            place: one of its.
        """
        arrays, sites = network.arrays(), {site.name: site for site in network.declaration().sites}
        for name, position in place.readers:
            matrix = sites[name].readers[position].parameter
            arrays[matrix] = np.zeros_like(arrays[matrix])
        return self.of(network.rebuilt(arrays)) > 0


class ChoosesSizes(WritesKeptUnits):
    """The part of the task that says by what the sizes of axes are chosen."""

    metric: Metric
    runs: Recorded
    costly: bool = False
    steps = 1.0
    """Rows of one run, which a matrix reads at once, and a recurrence one after the other."""
    often: Mapping[str, float] = MappingProxyType({})
    """Per site how often its matrices are applied in a step: a kernel in every place of a picture,
    a matrix that reads the last step alone only once in a run. Of the others once."""
    probe_scale: ClassVar[ProbeScale] = ProbeScale("squared change", 1e-4)

    @property
    @abstractmethod
    def probes(self) -> OutputLoss:
        """Compares graphs with the original."""

    def calibration_seconds(self) -> float | None:
        """That of the original on every calibration run; see `ModelTask.calibration_seconds`."""
        return None if self.costly else self.probes.seconds * len(self.runs.calibration)

    def probe_loss(self, network: GraphNetwork) -> float | None:
        """The squared change of the evaluated outputs; see `ModelTask.probe_loss`."""
        return 0.0 if network is self.original else self.probes.of(network)

    def probe_limit(self, limit: float) -> float:
        """The square of a change of outputs, or of a `TYPICAL` one in any other metric."""
        return float((limit if self.metric == "output_change" else TYPICAL) ** 2)

    def note_positions(self, observed: ActivationStatistics, runs: int) -> None:
        """Notes how often the matrices of every site are applied.

        Args:
            observed: on the calibration runs.
            runs: how many those were.
        """
        layers = self.original.meaning.layers
        steps = max(
            (
                count
                for site, count in observed.applied.items()
                if any(site.startswith(f"{layer}.") for layer in layers)
            ),
            default=observed.tokens,
        )
        self.steps = max(steps, 1) / runs
        self.often = {site: count / max(steps, 1) for site, count in observed.applied.items()}

    def work(self, declaration: NetworkAxes) -> float:
        """Multiply-adds per step, those of recurrences and the dispatch of products weighted."""
        total = max(PRODUCT / self.steps, LEAST_PRODUCT) * len(declaration.narrow)
        for site in declaration.sites:
            for reader in site.readers:
                count = math.prod(axes.shape(declaration, reader.parameter))
                waits = self.steps >= MANY and reader.parameter in self._recurrences
                total += self.often.get(site.name, 1.0) * count * (WAITING if waits else 1.0)
        return total

    @cached_property
    def _recurrences(self) -> set[str]:
        """The matrices that read a layer's own step before."""
        return {
            f"{name}.{direction}.{matrix}"
            for name, layers in self.original.meaning.layers.items()
            for direction in layers[0].recurrent.directions
            for matrix in ("recurrence", "candidate")
        }

    def multiplied_out(self, network: GraphNetwork) -> GraphNetwork | None:
        """See `ModelTask.multiplied_out`."""
        declaration = network.declaration()
        if not declaration.narrow:
            return None
        return network.rebuilt(multiplied_out(network.arrays(), declaration))

    def narrow_places(self, network: GraphNetwork) -> tuple[NarrowPlace, ...]:
        """Those that an evaluated output depends on; the module of a caller has room for none."""
        if self.save_own is not None:
            return ()
        return tuple(each for each in network.narrow_places() if self.probes.felt(network, each))
