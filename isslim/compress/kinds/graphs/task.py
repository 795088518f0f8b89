"""The task of an ONNX graph: evaluated by the change of its outputs on recorded inputs.

The original is the very file that was uploaded. A smaller graph is verified to equal the masked
reference, the uploaded graph with the removed units held at zero, before and after repair. The
reference is built without the surgery (`isslim/compress/onnx/masked_reference.py`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from isslim.compress.contract import ModelTask, Origin, Quality
from isslim.compress.errors import (
    GraphNotUnderstood,
    ModeUnavailable,
    NothingRemovable,
    RunsUnusable,
)
from isslim.compress.export.convolutions import quantize_convolutions
from isslim.compress.export.int8_forms import EightBit, Form
from isslim.compress.export.moves import merge_moves
from isslim.compress.export.quantize import quantize_graph
from isslim.compress.kinds.graphs.activations import collect_graph_activations
from isslim.compress.kinds.graphs.choosing import choose
from isslim.compress.kinds.graphs.distilling.distillation import DistilsGraphs
from isslim.compress.kinds.graphs.distilling.remarks import recordings_needed
from isslim.compress.kinds.graphs.evaluating import (
    calibration_metric_of,
    doubtful_outputs,
    quality_metric_of,
    refuse_selected,
)
from isslim.compress.kinds.graphs.kept_units import WritesKeptUnits
from isslim.compress.kinds.graphs.parts import parameters_of, parts_of
from isslim.compress.kinds.graphs.probing import ChoosesSizes, OutputLoss
from isslim.compress.kinds.graphs.quality_metrics import (
    MeasuredMetric,
    OutputMetric,
    refuse_unevaluated,
)
from isslim.compress.kinds.graphs.recorded import recorded_runs
from isslim.compress.kinds.graphs.running import outputs_of, temporary_file
from isslim.compress.kinds.graphs.streams import returned_states, stream_of
from isslim.compress.kinds.graphs.timed import timed_runs
from isslim.compress.kinds.graphs.understanding import (
    layers_of,
    refuse_not_finite,
    refuse_ports,
    understood,
)
from isslim.compress.kinds.graphs.verification import Verifier
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.preparing import PreparedGraph
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning.axes import NetworkAxes
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.pruning.ranking import Pruned
from isslim.runtime.errors import GraphRefused, InputsRefused
from isslim.runtime.graphs.latency import compare_graphs
from isslim.runtime.graphs.recorded_inputs import SAMPLES, GraphSession, NamedArrays, write_runs
from isslim.runtime.graphs.shapes import runs_to_time
from isslim.runtime.shape import Shape
from isslim.settings.worker import Evaluations
from isslim.store.files import sha256_of
from isslim.types.axis_names import components_of, layer_of
from isslim.types.inspection import LayerRecord
from isslim.types.kinds.graphs import GRAPHS
from isslim.types.manifest import CheckRecord, Estimate, LatencyRecord, PartRecord, Task
from isslim.types.recipe import Recipe
from isslim.types.states import StatesRecord

RANGED_RUNS = 32
"""Calibration runs, spread over all, that ranges of activations are taken from."""
SAMPLE_BYTES = 8 << 20
"""Limit on the recorded runs in a bundle; the first one is always there."""


class GraphTask(DistilsGraphs, ChoosesSizes, WritesKeptUnits, ModelTask[GraphNetwork]):
    """A graph and recorded inputs.

    Args:
        graph: the result of `graph_file`; its file has to exist as long as the task.
        recipe: with a budget of a graph.
        calibration: recorded inputs as npz (`isslim/runtime/graphs/recorded_inputs.py`); None:
            random ones.
        held_out: recorded inputs to evaluate on, as npz; None: a part of the others.
        evaluations: commands that the recipe's metric may name.
        known: the result of `understood` for the graph's file; None: it is called here.

    Raises:
        CompressError: when the graph is not understood, nothing can be removed, or it cannot be run
            on the inputs.
    """

    task: ClassVar[Task] = GRAPHS.name
    original_as_sent = True

    def __init__(
        self,
        graph: PreparedGraph,
        recipe: Recipe,
        calibration: Path | None,
        held_out: Path | None,
        evaluations: Evaluations = MappingProxyType({}),
        known: tuple[int, GraphNetwork] | None = None,
    ) -> None:
        self._began, path = time.monotonic(), graph.path
        self.path, self.recipe, self.metric = path, recipe, recipe.metric
        opset, self.original = known or understood(path)
        refuse_not_finite(self.original)
        if not self.original.declaration().axes:
            raise NothingRemovable(
                "no recurrent unit of the graph can be removed: its outputs would change their "
                "shapes, or an operator is not supported; the issues give the reason layer by "
                "layer",
                self._left_alone(),
            )
        try:
            self._uploaded = GraphSession(path)
        except GraphRefused as refused:
            raise GraphNotUnderstood(f"ONNX Runtime cannot open the graph: {refused}") from refused
        refuse_ports(self._uploaded)
        self.runs = recorded_runs(self._uploaded, self.original, calibration, held_out, recipe)
        refuse_unevaluated(recipe, self.runs.not_evaluated)
        refuse_selected(recipe)
        labelling = self.runs.labelling
        wanted = recipe.outputs if labelling is None else [labelling.output]
        self._choice = choose(self.original, self._uploaded, self.runs, wanted, path.stat().st_size)
        self._quality_metric = quality_metric_of(
            self.original, self._uploaded, self.runs, self._choice, recipe, evaluations
        )
        self._verifier = Verifier.of(
            self.runs.held_out, self._choice.compared, len(self._uploaded.outputs)
        )
        self.costly = self._quality_metric.costly
        self._timed = timed_runs(self._uploaded, self.runs, self.shapes, asked=bool(recipe.shapes))
        carried = {} if self._quality_metric.as_streams else self.original.carried_states()
        self._stream = stream_of(self._uploaded, carried, self.runs.held_out)
        self._known: dict[str, Quality] = {}
        if isinstance(self._quality_metric, MeasuredMetric):
            self._known[sha256_of(path)] = self._quality_metric.equal
        layers = [each for each in self.original.report() if not each.reasons]
        channels = [each for each in self.original.channels() if not each.reasons]
        doubt = self._quality_metric.doubt if self.runs.not_evaluated is None else None
        self.origin = Origin(
            f"ONNX graph, opset {opset}: {len(layers)} of {len(self.original.report())} groups of "
            "recurrent units may shrink"
            f"{(channels and f', and the channels of {len(channels)} other operators') or ''}"
            f"{graph.changes and f'; {graph.changes}'}",
            self.runs.calibration_origin,
            self.runs.held_out_origin + self._quality_metric.way,
            self.runs.random,
            not_evaluated=self.runs.not_evaluated,
            evaluated_outputs=self._quality_metric.evaluated_outputs,
            left_out=self.runs.left_out,
            warnings=(
                *filter(None, (doubt, graph.warning)),
                *doubtful_outputs(self._uploaded, self._choice.evaluated, recipe.metric),
                *self._choice.notes,
                *self.runs.notes,
            ),
        )

    @property
    def usual_shapes(self) -> tuple[Shape, ...]:  # type: ignore[override]
        """The median recorded run, the smallest and the largest."""
        return tuple(Shape(which=which) for which in runs_to_time(self.runs.all))

    @property
    def evaluation(self) -> str | None:
        """The operator's evaluation command, where the recipe names one."""
        return self._quality_metric.description

    def collect_activations(self, progress: ProgressCallback) -> ActivationStatistics:
        """Moments of what every site reads, over the calibration runs."""
        observed, lines = collect_graph_activations(
            self.original, self.runs.calibration, self.runs.labels, progress
        )
        self.origin = replace(self.origin, left_out=(*self.origin.left_out, *lines))
        self.note_positions(observed, len(self.runs.calibration))
        self._needed = recordings_needed(observed, len(self.runs.calibration))
        return observed

    def evaluate(self, network: GraphNetwork) -> Quality:
        """Evaluates by the recipe's metric."""
        if network is self.original:
            return self._quality(self.path, "the original")
        with temporary_file(network.model()) as path:
            return self._quality(path)

    def _quality(self, path: Path, which: str = "a compressed graph") -> Quality:
        """Of a file; of the same content, as the original's is again and again, it is known."""
        content = sha256_of(path)
        if content not in self._known:
            self._known[content] = self._quality_metric.quality(path, which)
        return self._known[content]

    def calibration_loss(self, network: GraphNetwork) -> float | None:
        """Evaluates on the calibration runs; None where an operator's command is the metric."""
        if self.costly:
            return None
        with temporary_file(network.model()) as path:
            return self._calibration_metric.quality(path).loss

    @cached_property
    def _calibration_metric(self) -> OutputMetric:
        """The same metric on the calibration runs, for choosing what to remove."""
        return calibration_metric_of(
            self.original, self._uploaded, self.runs, self._choice, self.recipe
        )

    @cached_property
    def probes(self) -> OutputLoss:
        """See `ChoosesSizes`."""
        return OutputLoss.on(self._uploaded, self.runs.calibration, self._choice.evaluated)

    def prunable(self, declaration: NetworkAxes) -> list[str]:
        """The axes that an evaluated output depends on."""
        return [axis for axis in declaration.axes if axis not in self._choice.unseen]

    def equal_axes(self) -> list[list[str]]:
        """With the form `same` the axes of each module of the exported model, where all may shrink.

        Raises:
            ModeUnavailable: when the file does not say which layers are one module.
        """
        if self.recipe.form != "same":
            return []
        stacks = self.original.stacks()
        if stacks is None:
            raise ModeUnavailable(
                "the form `same` is one of modules and language models, and this graph does not "
                "say which of its layers were one module: compress the torch.nn.Module itself "
                "with `isslim.compress`, or ask for the form `free`"
            )
        shrinking = set(self.prunable(self.original.declaration()))
        return [group for group in stacks if len(group) > 1 and shrinking >= set(group)]

    def verify_removal(self, before: GraphNetwork, pruned: Pruned) -> CheckRecord:
        """See `Verifier.removal`."""
        return self._verifier.removal(before, pruned)

    def export(self, network: GraphNetwork, path: Path) -> None:
        """Writes the graph; the original is copied from the uploaded file.

        Args:
            network: the graph.
            path: of the file to write.
        """
        if network is self.original:
            shutil.copyfile(self.path, path)
            return
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(merge_moves(network.model()).SerializeToString())
        partial.replace(path)

    def verify_export(self, path: Path, network: GraphNetwork, name: str) -> CheckRecord:
        """See `Verifier.export`."""
        return self._verifier.export(path, network, name, uploaded=network is self.original)

    def quantize(self, network: GraphNetwork, source: Path, target: Path, form: Form) -> EightBit:
        """Quantizes the graph in memory; an uploaded file may compute weights at run time.

        Where the result cannot be run, nothing is quantized.

        Args:
            network: the graph.
            source: its float32 file; not read here.
            target: of the file to write.
            form: what is quantized, and how.
        """
        model = merge_moves(network.model())
        if form.convolutions is not None:
            runs = self.runs.calibration[:: -(-len(self.runs.calibration) // RANGED_RUNS)]
            model = quantize_convolutions(model, runs, form.convolutions) or model
        found = quantize_graph(model, target, form)
        if found.parts:
            try:
                outputs_of(GraphSession(target), self.runs.held_out[:1])
            except (GraphRefused, InputsRefused, RunsUnusable):
                target.unlink(missing_ok=True)
                return EightBit([], found.rest)
        return found

    def quick_loss(self, path: Path) -> float | None:
        """The loss of a file; None where an operator's command would have to be run for it."""
        return None if self.costly else self._quality(path, f"`{path.stem}`").loss

    def measure(self, path: Path) -> dict[str, float]:
        """Evaluates a file as it is served, by the recipe's metric."""
        return {self.metric: self._quality(path, f"`{path.stem}`").value}

    def estimate(self, path: Path, original: Path) -> Estimate | None:
        """The interval of a file's loss.

        Args:
            path: the file.
            original: the original's file; not read here.

        Returns:
            None for an operator's command, and for too few rows.
        """
        return self._quality(path, f"`{path.stem}`").estimate

    def states(self, path: Path) -> StatesRecord | None:
        """The change of returned states on the held-out runs, and the loss over a stream."""
        names = sorted(self.original.state_outputs() & set(self._choice.compared))
        if not names:
            return None
        graph, quality_metric = GraphSession(path), self._quality_metric
        streamed = None
        if self._stream is not None and isinstance(quality_metric, OutputMetric):
            streamed = self._stream.record(
                graph, lambda found, wanted: quality_metric.of(found, wanted).loss
            )
        return StatesRecord(
            returned=returned_states(graph, self._uploaded, self.runs.held_out, names),
            stream=streamed,
        )

    def loss(self, metrics: Mapping[str, float], original: Mapping[str, float]) -> float:
        """The loss of measured metrics, which are relative to the original by themselves.

        See `ModelTask.loss`.
        """
        return self._quality_metric.loss(metrics[self.metric])

    def compare(
        self, paths: Mapping[str, Path], shape: Shape, pairs: int | None = None
    ) -> dict[str, LatencyRecord]:
        """Times files on recorded inputs.

        Args:
            paths: the files, by variant.
            shape: which recorded run.
            pairs: rounds of the comparison; None: the default.
        """
        sessions = {name: GraphSession(path) for name, path in paths.items()}
        run, description = self._timed[shape]
        return compare_graphs(sessions, run, description, pairs=pairs)

    def parameters(self, declaration: NetworkAxes) -> int:
        """Parameters of the graph, with those that no axis indexes."""
        return parameters_of(self.original, declaration)

    def parts(self, declaration: NetworkAxes) -> list[PartRecord]:
        """Every recurrent layer, every matrix that reads one, and the rest of the graph."""
        return parts_of(self.original, declaration)

    def save_companions(self, folder: Path) -> None:
        """Saves the median, smallest and largest recorded run, for latency in the service."""
        kept: list[NamedArrays] = []
        for run in runs_to_time(self.runs.all).values():
            if (
                kept
                and sum(array.nbytes for each in (*kept, run) for array in each.values())
                > SAMPLE_BYTES
            ):
                break
            kept.append(run)
        write_runs(folder / SAMPLES, kept)

    def layers(self) -> list[LayerRecord]:
        """Every group of recurrent units or channels, and whether it may shrink."""
        # Nothing could be evaluated of a layer that no output depends on: it stays whole.
        unseen = {layer_of(axis) for axis in self._choice.unseen}
        return [
            each.model_copy(update={"may_shrink": False}) if layer_of(each.name) in unseen else each
            for each in layers_of(self.original)
        ]

    def notes(self) -> list[str]:
        """Units and channels that stay as they are, and outputs that are not used, with reasons."""
        unseen, sizes = self._choice.unseen, self.original.declaration().axes
        return [
            *self._left_alone(),
            *(
                f"{layer_of(axis)} ({sizes[axis]} {components_of(axis)}): {reason}"
                for axis, reason in unseen.items()
            ),
            *self._choice.notes,
            *self.training_notes(),
        ]

    def _left_alone(self) -> list[str]:
        return [
            f"{each.name} ({each.size} {components_of(each.name)}): {'; '.join(each.reasons)}"
            for each in (*self.original.report(), *self.original.channels())
            if each.reasons
        ]
