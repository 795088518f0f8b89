"""ONNX graphs of any origin: observed on recorded inputs, judged by what becomes of the outputs, run as they stand.

The original is the very file that was uploaded. What is proven of a smaller graph is that it equals the uploaded one with
the removed units held at zero, a reference that is built without the surgery (`compress/graphs/silencing.py`), before and
after repair.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import onnx

from compress import axes
from compress.axes import Declaration
from compress.calibrate import Pruned
from compress.errors import GraphNotUnderstood, ModeUnavailable, NothingRemovable, RunsUnusable, VerificationFailed
from compress.evaluating import Evaluations, Evaluator
from compress.graphs.network import GraphNetwork
from compress.graphs.precision import with_wide_outputs
from compress.moments import Moments, Sums, gathered
from compress.observation import Observed
from compress.quantize import quantize_graph
from compress.tasks.comparing import Outputs, difference
from compress.tasks.contract import ModelTask, Origin, Quality, Tell
from compress.tasks.graph_parts import parts_of, untouched
from compress.tasks.judging import ByCommand, ByOutputs, Judge
from compress.tasks.recorded import opened, outputs_of, recorded_runs, written
from compress.tasks.understanding import understood
from runtime.errors import GraphRefused, InputsRefused
from runtime.latency import compare_graphs
from runtime.samples import SAMPLES, AnyGraph, Inputs, write_runs
from runtime.shaping import Shape, chosen, shaped
from store.inspection import LayerRecord
from store.manifest import CheckRecord, LatencyRecord, PartRecord, Task
from store.recipe import COMMAND, Recipe

TOLERANCE = 1e-4
"""Largest difference of an output, relative to its largest entry where that is above 1: float32 sums in different orders."""
PROVEN = 4
SAMPLE_BYTES = 8 << 20
"""What the recorded runs in a bundle may take; the first one is always there."""


class GraphTask(ModelTask[GraphNetwork]):
    """A graph and recorded inputs.

    Args:
        path: the graph, as `graph_file` gives it; it has to stay while the task lives.
        recipe: with a budget of a graph.
        calibration: recorded inputs as npz (`runtime/samples.py`); None: drawn.
        held_out: the same, to judge on; None: the last fifth of the others.
        evaluations: commands that the recipe's metric may name.
        told: what was done to the uploaded file to make `path` of it.

    Raises:
        CompressError: when the graph is not understood, nothing can be removed, or it cannot be run on the inputs.
    """

    task: ClassVar[Task] = "graph"

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        calibration: Path | None,
        held_out: Path | None,
        evaluations: Evaluations = MappingProxyType({}),
        told: str = "",
    ) -> None:
        self.path, self.recipe, self.metric = path, recipe, recipe.metric
        opset, self.original = understood(path)
        if not self.original.declaration().axes:
            raise NothingRemovable(
                "no recurrent unit of the graph can be removed without changing what its caller sees, or an operator is not "
                "understood; the issues say why, layer by layer",
                self.notes(),
            )
        try:
            self._uploaded = AnyGraph(path)
        except GraphRefused as refused:
            raise RunsUnusable(f"ONNX Runtime cannot open the graph: {refused}") from refused
        if strange := [name for name, (kind, _) in self._uploaded.outputs.items() if not kind.startswith("tensor(")]:
            raise GraphNotUnderstood(f"outputs that are no tensors are not compared: {', '.join(strange)}")
        self.runs = recorded_runs(self._uploaded, self.original.trace, calibration, held_out, recipe.seed)
        self._judge = self._judged_by(evaluations)
        self.costly = self._judge.costly
        self._timed = self._to_be_timed()
        layers = [each for each in self.original.report() if not each.reasons]
        self.origin = Origin(
            f"ONNX graph, opset {opset}: {len(layers)} of {len(self.original.report())} groups of "
            f"recurrent units may shrink{told and f'; {told}'}",
            self.runs.calibration_origin,
            self.runs.held_out_origin,
            self.runs.random,
        )

    def _to_be_timed(self) -> dict[Shape, tuple[Inputs, str]]:
        """The run for each shape, and which it is in words."""
        try:
            found = {
                shape: shaped(self._uploaded, self.runs.all, shape, random=self.runs.random) for shape in self.shapes
            }
            if self.recipe.shapes:
                for run, _ in found.values():
                    self._uploaded.run(run)
        except InputsRefused as refused:
            raise RunsUnusable(
                f"the graph cannot be timed at the recipe's `shapes`: {refused.issues[0]}", refused.issues
            ) from refused
        return found

    def _judged_by(self, evaluations: Evaluations) -> Judge:
        """What the recipe's metric asks for."""
        metric, outputs = self.recipe.metric, self.recipe.outputs
        if metric.startswith(COMMAND):
            if outputs:
                raise ModeUnavailable(
                    f"`outputs` ({', '.join(outputs)}) says what a metric of outputs looks at; an evaluation judges the graph as "
                    "a whole: leave one of them out"
                )
            return ByCommand(Evaluator(metric, evaluations), self.path)
        states = self.original.state_outputs()
        numbers = [name for name, (kind, _) in self._uploaded.outputs.items() if kind != "tensor(string)"]
        if absent := [name for name in outputs if name not in numbers]:
            raise RunsUnusable(f"the recipe judges by {', '.join(absent)}; outputs of numbers are {', '.join(numbers)}")
        judged = list(outputs) or [name for name in numbers if name not in states] or numbers
        return ByOutputs(metric, self.runs.held_out, outputs_of(self._uploaded, self.runs.held_out), judged)

    @property
    def usual_shapes(self) -> tuple[Shape, ...]:  # type: ignore[override]
        """The median recorded run, the smallest and the largest."""
        return tuple(Shape(which=which) for which in chosen(self.runs.all))

    @property
    def evaluation(self) -> str | None:
        """The operator's command, where that judges."""
        return self._judge.told

    def observe(self, tell: Tell) -> Observed:
        """Moments of what every site reads, over the calibration runs."""
        observer, moments, seen = self.original.observer(), dict[str, Moments](), 0
        with opened(observer.model) as graph:
            for done, run in enumerate(self.runs.calibration):
                for site, rows in observer.rows(graph.run(run, observer.outputs)).items():
                    if len(rows):
                        single = len(self.runs.calibration) == 1
                        moments[site] = Moments.of(rows) if single else gathered(moments.get(site), rows)
                        seen = max(seen, moments[site].count)
                tell((done + 1) / len(self.runs.calibration), "observing")
        declaration = self.original.declaration()
        for each in declaration.sites:
            if each.name not in moments:
                # It lies in a branch that never ran: nothing is known of its inputs, so nothing is told from others.
                width = sum(part.size for part in declaration.parts(each))
                nothing = Sums(1, np.zeros(width), np.eye(width))
                moments[each.name] = Moments(nothing, nothing)
        return Observed(moments, seen)

    def judge(self, network: GraphNetwork) -> Quality:
        """By the recipe's metric."""
        if network is self.original:
            value = self._judge.value(self.path, "the original")
        else:
            with written(network.model()) as path:
                value = self._judge.value(path)
        return Quality(value, self._judge.loss(value))

    def verify_removal(self, before: GraphNetwork, pruned: Pruned) -> CheckRecord:
        """The cut graph against the uploaded one with the removed units held at zero, and repaired against its algebra.

        States that the caller gives may hold something for a removed unit: in both references that is silenced as well.
        """
        runs = self._proven
        cut, _ = axes.take(before.arrays(), before.declaration(), pruned.keep)
        # One graph after the other: of a large one there is hardly room for two.
        errors = [
            difference(_outputs(before.rebuilt(cut).model(), runs), _outputs(before.silenced(pruned.keep), runs)),
            difference(
                _outputs(before.rebuilt(pruned.arrays).model(), runs),
                _outputs(before.rebuilt(pruned.reference).silenced(pruned.keep), runs),
            ),
        ]
        return _checked(
            "cut graph = uploaded graph with removed units at zero",
            f"all outputs of {len(runs)} runs, before repair and after it",
            max(errors),
        )

    def export(self, network: GraphNetwork, path: Path) -> None:
        """Writes the graph; of the original the very file that was uploaded."""
        if network is self.original:
            shutil.copyfile(self.path, path)
            return
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(network.model().SerializeToString())
        partial.replace(path)

    def verify_export(self, path: Path, network: GraphNetwork, name: str) -> CheckRecord:
        """The file passes ONNX's checker, and ONNX Runtime's optimised run equals a plain one of the graph in memory."""
        runs = self._proven
        try:
            onnx.checker.check_model(path, full_check=network is not self.original)
        except onnx.checker.ValidationError as error:
            raise VerificationFailed(f"ONNX's checker refuses {name}: {error}; nothing was published") from error
        with opened(with_wide_outputs(network.model()), optimized=False) as plain:
            found = difference(_outputs(onnx.load(path), runs), outputs_of(plain, runs))
        return _checked(f"ONNX Runtime, optimised = as written ({name})", f"all outputs of {len(runs)} runs", found)

    def quantize(self, source: Path, target: Path) -> list[str]:
        """By ONNX Runtime, dynamically; nothing where that is not possible or leads to a graph that cannot be run."""
        parts = quantize_graph(source, target)
        if parts:
            try:
                outputs_of(AnyGraph(target), self.runs.held_out[:1])
            except (GraphRefused, InputsRefused, RunsUnusable):
                return []
        return parts

    def measure(self, path: Path) -> dict[str, float]:
        """The recipe's metric, in the file as it is served."""
        return {self.metric: self._judge.value(path, f"`{path.stem}`")}

    def loss(self, metrics: Mapping[str, float], original: Mapping[str, float]) -> float:
        """How far from the original."""
        return self._judge.loss(metrics[self.metric])

    def compare(self, paths: Mapping[str, Path], shape: Shape, pairs: int | None = None) -> dict[str, LatencyRecord]:
        """Times runs of recorded inputs."""
        sessions = {name: AnyGraph(path) for name, path in paths.items()}
        run, told = self._timed[shape]
        return compare_graphs(sessions, run, told, pairs=pairs)

    def parameters(self, declaration: Declaration) -> int:
        """All of the graph's, also those that no axis touches."""
        return axes.parameters(declaration) + untouched(self.original)

    def parts(self, declaration: Declaration) -> list[PartRecord]:
        """Every recurrent layer, every matrix that reads one, and the rest of the graph."""
        return parts_of(self.original, declaration)

    def save_companions(self, folder: Path) -> None:
        """The median recorded run, the smallest and the largest, which the service measures latency on."""
        kept: list[Inputs] = []
        for run in chosen(self.runs.all).values():
            if kept and sum(array.nbytes for each in (*kept, run) for array in each.values()) > SAMPLE_BYTES:
                break
            kept.append(run)
        write_runs(folder / SAMPLES, kept)

    def layers(self) -> list[LayerRecord]:
        """Every group of recurrent units."""
        return [
            LayerRecord(name=each.name, size=each.size, may_shrink=not each.reasons) for each in self.original.report()
        ]

    def notes(self) -> list[str]:
        """Every group of units that was left alone, with the reasons."""
        return [
            f"{each.name} ({each.size} units): {'; '.join(each.reasons)}"
            for each in self.original.report()
            if each.reasons
        ]

    @property
    def _proven(self) -> list[Inputs]:
        """Some of the held-out runs, spread over all: neighbours may all go through one branch of the graph."""
        runs = self.runs.held_out
        return [runs[index] for index in sorted({round(each) for each in np.linspace(0, len(runs) - 1, PROVEN)})]


def _checked(name: str, detail: str, error: float) -> CheckRecord:
    if not error <= TOLERANCE:
        raise VerificationFailed(
            f"{name}: the largest difference is {error:.2e}, the tolerance {TOLERANCE:.0e}; nothing was published"
        )
    return CheckRecord(name=name, detail=detail, error=error, tolerance=TOLERANCE)


def _outputs(model: onnx.ModelProto, runs: Sequence[Inputs]) -> list[Outputs]:
    """What a graph in memory makes of runs."""
    with opened(with_wide_outputs(model)) as graph:
        return outputs_of(graph, runs)
