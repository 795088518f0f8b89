"""The only place that knows the order of the stages: from an upload to a published bundle.

ingest (a task) -> structure (calibrate, search, fine-tune; or learn) -> export -> verify -> measure
-> card -> publish

Each stage takes values and returns new ones. Everything is written in the job's own folder; the
store sees a bundle only when it is whole and verified.
"""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Generic

import torch

from isslim.compress.card.card import write_card
from isslim.compress.contract import Candidate, ModelTask, Origin
from isslim.compress.errors import BudgetNotMet
from isslim.compress.inspection.inspect import begin
from isslim.compress.kinds.registry import UploadedFiles
from isslim.compress.measurement.measure import Measured, best_compressed, measure
from isslim.compress.pruning import axes
from isslim.compress.pruning.network import Model
from isslim.compress.search.candidates import candidates
from isslim.settings.worker import Evaluations
from isslim.store.bundles import BundleStore, seal
from isslim.types.inspection import Inspection
from isslim.types.jobs import CompressionRequest
from isslim.types.manifest import AxisRecord, CurvePoint, Manifest
from isslim.types.provenance import Provenance
from isslim.types.report import Report

INT8_INSTRUCTIONS = ("avx_vnni", "avx512_vnni", "avx_vnni_int8", "amx_int8", "dot", "i8mm")
"""Instruction sets that the speed of int8 depends on: of x86, then of ARM."""

Progress = Callable[[str, float, str], None]


class Stages:
    """Reports progress and keeps the wall time of each stage.

    Args:
        progress: called with the stage, the share of the whole job done (0 to 1) and a message.
    """

    # Start and end of each stage as shares of the job; rough, for the progress bar only.
    SHARES: ClassVar = {
        "ingest": (0.0, 0.05),
        "calibrate": (0.05, 0.15),
        "search": (0.15, 0.4),
        "fine-tune": (0.4, 0.7),
        "learn": (0.05, 0.7),
        "export": (0.7, 0.75),
        "measure": (0.75, 0.97),
        "publish": (0.97, 1.0),
    }

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._name, self._since = "", time.monotonic()

    def enter(self, name: str, message: str) -> None:
        """Begins a stage and ends the one before it.

        Args:
            name: one of `SHARES`.
            message: what is about to be done.
        """
        self.note()
        self._name, self._since = name, time.monotonic()
        self.progress(0.0, message)

    def note(self) -> None:
        """Records the seconds that the current stage has taken so far."""
        if self._name:
            self.seconds[self._name] = round(time.monotonic() - self._since, 2)

    def progress(self, done: float, message: str) -> None:
        """Reports progress within the current stage.

        Args:
            done: share of the stage, 0 to 1.
            message: what is being done.
        """
        start, end = self.SHARES[self._name]
        self._progress(self._name, start + done * (end - start), message)


def run(  # noqa: PLR0913 - a whole job: everything that it takes from outside, by name
    request: CompressionRequest,
    inputs: UploadedFiles,
    work: Path,
    report: Progress,
    bundles: BundleStore,
    evaluations: Evaluations = MappingProxyType({}),
    on_inspection: Callable[[Inspection], None] = lambda _: None,
) -> str:
    """Compresses an uploaded model and publishes the bundle.

    Args:
        request: the recipe and the uploads' hashes.
        inputs: the uploads' local files.
        work: the job's folder; checkpoints in it are resumed from.
        report: called with stage, share of the whole done (0 to 1) and a message.
        bundles: where the bundle goes.
        evaluations: commands that the recipe's metric may name.
        on_inspection: called once with what was understood of the upload, before any work on it.

    Returns:
        The bundle's id.

    Raises:
        CompressError: reported to the person who uploaded; nothing was published.
    """
    torch.manual_seed(request.recipe.seed)
    stages = Stages(report)
    stages.enter("ingest", "reading the model")
    task, inspection = begin(inputs, request.recipe, on_inspection, evaluations)
    task.evaluate(task.original)  # cached by the task; fails early if it cannot
    return _compress(task, inspection, request, work, stages, bundles)


def _compress(
    task: ModelTask[Model],
    inspection: Inspection,
    request: CompressionRequest,
    work: Path,
    stages: Stages,
    bundles: BundleStore,
) -> str:
    chosen = _chosen(task, work, stages)
    found, measured, bundle = chosen.found, chosen.measured, chosen.folder
    stages.enter("publish", "writing the card")
    best = best_compressed(measured.variants)
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
        provenance=_provenance(request, task.origin, found.description, task.evaluation, stages),
        files=[],
    )
    summary = Report(
        inspection=inspection,
        curve=found.curve,
        original_value=task.evaluate(task.original).value,
        epochs=found.epochs,
        verdict=measured.conclusions.text,
        conclusions=measured.conclusions,
        samples=samples,
        notes=task.notes(),
        left_out=measured.left_out,
        cautions=found.cautions,
    )
    (bundle / "report.json").write_text(summary.model_dump_json(indent=2))
    write_card(bundle, manifest, summary)
    seal(bundle, manifest)
    bundle_id = bundles.publish(bundle)
    shutil.rmtree(bundle.parent, ignore_errors=True)
    stages.progress(1.0, f"published {bundle_id}: {summary.verdict}")
    return bundle_id


@dataclass(frozen=True)
class _Choice(Generic[Model]):
    """A measured candidate and the folder of its graphs."""

    found: Candidate[Model]
    measured: Measured
    folder: Path


def _chosen(task: ModelTask[Model], work: Path, stages: Stages) -> _Choice[Model]:
    """The candidate to publish: the smallest within the budget in both forms, else in float32.

    Where training was requested, a larger model is not preferred for the sake of its int8 form.
    """
    best: _Choice[Model] | None = None
    trains = task.recipe.mode == "learn" or task.recipe.finetune_minutes > 0
    refused, curve = list[str](), list[CurvePoint]()
    shutil.rmtree(work / "bundle", ignore_errors=True)

    def rank(each: _Choice[Model]) -> tuple[bool, int]:
        return each.measured.missed and not trains, axes.parameters(
            each.found.network.declaration()
        )

    tries, number = candidates(task, work, stages), 0
    try:
        found = next(tries, None)
        while found is not None:
            stages.enter("export", "writing the graphs")
            folder = work / "bundle" / str(number)
            folder.mkdir(parents=True)
            task.save_companions(folder)
            each = _Choice(found, measure(task, found.network, folder, stages), folder)
            if each.measured.kept and (best is None or rank(each) < rank(best)):
                if best is not None:
                    shutil.rmtree(best.folder)
                best = each
            else:
                shutil.rmtree(folder)
            refused, curve = each.measured.left_out, found.curve
            published, number = each.measured.published, number + 1
            if not published.kept or (published.missed and not trains):
                stages.progress(1.0, f"stepping back: {'; '.join(refused)}")
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
    return best


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
    request: CompressionRequest,
    origin: Origin,
    tuned: str | None,
    evaluation: str | None,
    stages: Stages,
) -> Provenance:
    stages.note()
    return Provenance(
        upload_sha256=request.model.sha256,
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
