"""The only place that knows the order of the stages: from files to a bundle, and its publication.

ingest (a task) -> structure (calibrate, search, fine-tune; or learn) -> export -> verify -> measure
-> card -> publish

Each stage takes values and returns new ones. Everything is written in the compression's own folder;
the store sees a bundle only when it is whole and verified. Where nothing is published, as in
`isslim.compress.library`, no store is needed.
"""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic

import torch

from isslim.compress.card.card import write_card
from isslim.compress.contract import Candidate, ModelTask, Origin
from isslim.compress.errors import BudgetNotMet
from isslim.compress.inspection.inspect import begin
from isslim.compress.kinds.registry import UploadedFiles
from isslim.compress.measurement.measure import Measured, Measurements, conclusions_of
from isslim.compress.measurement.narrow_layers import quicker
from isslim.compress.own_work import keep_own
from isslim.compress.progress import Progress
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Keep
from isslim.compress.pruning.network import Model
from isslim.compress.search.candidates import candidates
from isslim.runtime.shape import Shape
from isslim.settings.worker import Evaluations
from isslim.store.files import sha256_of
from isslim.store.folders import id_of, seal
from isslim.types.inspection import Inspection
from isslim.types.manifest import AxisRecord, CurvePoint, EpochPoint, Manifest
from isslim.types.provenance import Provenance
from isslim.types.recipe import Recipe
from isslim.types.recommendation import recommended
from isslim.types.report import Report

if TYPE_CHECKING:
    from isslim.store.bundles import BundleStore  # with the libraries of storage

INT8_INSTRUCTIONS = ("avx_vnni", "avx512_vnni", "avx_vnni_int8", "amx_int8", "dot", "i8mm")
"""Instruction sets that the speed of int8 depends on: of x86, then of ARM."""


class Stages(Progress):
    """Passes progress on and keeps the wall time of each stage.

    Args:
        progress: receives the progress.

    Attributes:
        seconds: by stage.
    """

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._name, self._since = "", time.monotonic()

    def enter(self, stage: str, message: str) -> None:
        """Begins a stage and ends the one before it; see `Progress.enter`."""
        self.note()
        self._name = stage
        self._progress.enter(stage, message)

    def note(self) -> None:
        """Records the seconds that the current stage has taken so far, each time it was entered."""
        now = time.monotonic()
        if self._name:
            spent = self.seconds.get(self._name, 0.0) + now - self._since
            self.seconds[self._name] = round(spent, 2)
        self._since = now

    def __call__(self, done: float, message: str) -> None:
        """Reports progress within the current stage; see `Progress`."""
        self._progress(done, message)

    def on_minutes(self, minutes: float) -> None:
        """Receives how long may be distilled; see `Progress`."""
        self._progress.on_minutes(minutes)

    def on_point(self, point: CurvePoint) -> None:
        """Receives a candidate; see `Progress`."""
        self._progress.on_point(point)

    def on_epoch(self, epoch: EpochPoint) -> None:
        """Receives an epoch; see `Progress`."""
        self._progress.on_epoch(epoch)


@dataclass(frozen=True)
class Compressed(Generic[Model]):
    """A smaller model within the budget, verified and measured, as a sealed bundle.

    Attributes:
        task: the original, and the data that it was evaluated on.
        network: the smaller network, in evaluation mode.
        kept: per axis the indices (K,) of the original's components that are left, ascending.
        manifest: with the variants and the checks that they passed.
        report: with the trade-off curve and the verdict.
        folder: the bundle's files, in the working folder of the compression.
    """

    task: ModelTask[Model]
    network: Model
    kept: Keep
    manifest: Manifest
    report: Report
    folder: Path


def compress_files(
    inputs: UploadedFiles,
    recipe: Recipe,
    work: Path,
    progress: Progress,
    evaluations: Evaluations = MappingProxyType({}),
    on_inspection: Callable[[Inspection], None] = lambda _: None,
) -> Compressed[Any]:
    """Reads a model from files and compresses it.

    Args:
        inputs: local files.
        recipe: options of the compression.
        work: the compression's own folder; checkpoints of the same request are resumed from.
        progress: receives what is done.
        evaluations: commands that the recipe's metric may name.
        on_inspection: called once with what was understood of the files, before any work on it.

    Raises:
        CompressError: reported to the person who sent the model; there is no bundle.
    """
    stages = Stages(progress)
    task, inspection = read_files(inputs, recipe, stages, evaluations, on_inspection)
    keep_own(work, inputs, task.recipe)
    return compress_task(task, inspection, sha256_of(inputs.model), work, stages)


def read_files(
    inputs: UploadedFiles,
    recipe: Recipe,
    stages: Stages,
    evaluations: Evaluations = MappingProxyType({}),
    on_inspection: Callable[[Inspection], None] = lambda _: None,
) -> tuple[ModelTask[Any], Inspection]:
    """Reads a model from files, as the first stage; it sets torch's random state by the recipe.

    Args:
        inputs: local files.
        recipe: options of the compression.
        stages: receives what is done.
        evaluations: commands that the recipe's metric may name.
        on_inspection: called once with what was understood of the files.

    Raises:
        CompressError: reported to the person who sent the model.
    """
    torch.manual_seed(recipe.seed)
    stages.enter("ingest", "reading the model")
    task, inspection = begin(inputs, recipe, on_inspection, evaluations)
    task.evaluate(task.original)  # cached by the task; fails early if it cannot
    return task, inspection


def compress_task(
    task: ModelTask[Model],
    inspection: Inspection,
    model_sha256: str,
    work: Path,
    stages: Stages,
    shapes: Sequence[Shape] | None = None,
) -> Compressed[Model]:
    """Compresses a model that was read.

    Args:
        task: the model and the data that it is evaluated on.
        inspection: what was understood of it, for the report.
        model_sha256: of the file that it was read from, for the manifest.
        work: the compression's own folder; checkpoints in it are resumed from.
        stages: receives what is done.
        shapes: that variants are timed at, the primary one among them; None: all of the task.

    Raises:
        CompressError: reported to the person who sent the model; there is no bundle.
    """
    chosen = _chosen(task, work, stages, task.shapes if shapes is None else shapes, model_sha256)
    found, measured, bundle = chosen.found, chosen.measured, chosen.folder
    stages.enter("publish", "writing the card")
    best = recommended(measured.variants)
    conclusions = conclusions_of(task, measured.variants, found)
    shown = [measured.variants[0], *([] if best is None else [best])]
    samples = task.samples({variant.name: bundle / variant.file for variant in shown})
    manifest = Manifest(
        task=task.task,
        metric=task.metric,
        name=task.recipe.name,
        created_at=datetime.now(UTC),
        architecture=task.original.architecture,
        recipe=task.recipe,
        text=task.text,
        axes=_axes(task.original, found),
        variants=measured.variants,
        checks=[*found.checks, *measured.checks],
        provenance=_provenance(
            model_sha256, task.origin, found.description, task.evaluation, stages
        ),
        files=[],
    )
    report = Report(
        inspection=inspection,
        curve=found.curve,
        original_value=task.evaluate(task.original).value,
        epochs=found.epochs,
        verdict=conclusions.text,
        conclusions=conclusions,
        same_form=task.save_weights(found.network, bundle, found.kept),
        samples=samples,
        notes=task.notes(),
        left_out=measured.left_out,
        cautions=found.cautions,
        allocation=found.allocation,
    )
    (bundle / "report.json").write_text(report.model_dump_json(indent=2))
    write_card(bundle, manifest, report)
    return Compressed(task, found.network, found.kept, seal(bundle, manifest), report, bundle)


def publish(compressed: Compressed[Any], bundles: BundleStore, progress: Progress) -> str:
    """Publishes a bundle, and removes it from the working folder.

    Args:
        compressed: with the sealed bundle.
        bundles: where it goes.
        progress: of the compression, in its last stage.

    Returns:
        The bundle's id.

    Raises:
        OutOfSpace: when the disk is full; no bundle appears.
    """
    bundle_id = stage(compressed, bundles, progress, lambda bundle_id: None)
    bundles.complete(bundle_id)
    return bundle_id


def stage(
    compressed: Compressed[Any],
    bundles: BundleStore,
    progress: Progress,
    announce: Callable[[str], None],
) -> str:
    """Copies a bundle into storage, for somebody else to publish; see `publish`.

    Args:
        compressed: with the sealed bundle.
        bundles: where it goes.
        progress: of the compression, in its last stage.
        announce: called with the bundle's id before the first file is copied.

    Returns:
        The bundle's id.

    Raises:
        OutOfSpace: when the disk is full; nothing is left.
    """
    announce(id_of(compressed.folder))
    bundle_id = bundles.stage(compressed.folder)
    shutil.rmtree(compressed.folder.parent, ignore_errors=True)
    progress(1.0, f"published {bundle_id}: {compressed.report.verdict}")
    return bundle_id


@dataclass(frozen=True)
class _Choice(Generic[Model]):
    """A measured candidate and the folder of its graphs."""

    found: Candidate[Model]
    measured: Measured
    folder: Path


def _chosen(
    task: ModelTask[Model],
    work: Path,
    stages: Stages,
    shapes: Sequence[Shape],
    model_sha256: str,
) -> _Choice[Model]:
    """The candidate to publish: the smallest within the budget in both forms, else in float32.

    In learn mode a larger model is not preferred for the sake of its int8 form.
    """
    best: _Choice[Model] | None = None
    trains = task.recipe.mode == "learn"
    refused, curve = list[str](), list[CurvePoint]()
    shutil.rmtree(work / "bundle", ignore_errors=True)

    def rank(each: _Choice[Model]) -> tuple[bool, int]:
        return each.measured.missed and not trains, axes.parameters(
            each.found.network.declaration()
        )

    tries, number = candidates(task, work, stages), 0
    measurements = Measurements(task, work / "bundle" / "original", stages, shapes, model_sha256)
    try:
        found = next(tries, None)
        while found is not None:
            folder = work / "bundle" / str(number)
            folder.mkdir(parents=True)
            found = quicker(task, found, folder)
            measured = measurements.of(found.network, folder)
            each = _Choice(found, measured, folder)
            if each.measured.kept and (best is None or rank(each) < rank(best)):
                if best is not None:
                    shutil.rmtree(best.folder)
                best = each
            else:
                shutil.rmtree(folder)
            refused, curve = each.measured.left_out, found.curve
            published, number = each.measured.published, number + 1
            if not published.kept or (published.missed and not trains):
                stages(1.0, f"stepping back: {'; '.join(refused)}")
            try:
                found = tries.send(published)
            except StopIteration:
                break
    except BudgetNotMet as answer:
        if best is None:
            raise BudgetNotMet(
                "; ".join(dict.fromkeys([*refused, answer.detail])), curve=answer.curve
            ) from answer
    if best is None:
        raise BudgetNotMet("; ".join(refused), curve=curve)
    task.save_companions(best.folder)
    return replace(best, measured=measurements.finished(best.measured, best.folder))


def _axes(original: Model, found: Candidate[Model]) -> list[AxisRecord]:
    return [
        AxisRecord(
            name=axis,
            original=size,
            kept=len(found.kept[axis]),
            kept_indices=found.kept[axis].tolist(),
        )
        for axis, size in original.declaration().axes.items()
    ]


def _provenance(
    model_sha256: str,
    origin: Origin,
    tuned: str | None,
    evaluation: str | None,
    stages: Stages,
) -> Provenance:
    stages.note()
    return Provenance(
        upload_sha256=model_sha256,
        layout=origin.layout,
        calibration=origin.calibration,
        held_out=origin.held_out,
        random_inputs=origin.random,
        evaluation=evaluation,
        not_evaluated=origin.not_evaluated,
        evaluated_outputs=dict(origin.evaluated_outputs),
        left_out=list(origin.left_out),
        finetune=tuned,
        versions={name: version(name) for name in ("torch", "onnx", "onnxruntime", "numpy")},
        machine=_machine(),
        int8_instructions=[
            name for name in INT8_INSTRUCTIONS if torch.cpu.get_capabilities().get(name)
        ],
        seconds=stages.seconds,
    )


def _machine() -> str:
    threads, processor = torch.get_num_threads(), torch.cpu.get_capabilities().get("cpu_name")
    named = f"{processor} ({platform.machine()})" if processor else platform.machine()
    return f"{named}, {threads} {'thread' if threads == 1 else 'threads'}"
