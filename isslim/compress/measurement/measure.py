"""Exports, verifies and measures the variants of a bundle.

Quality, size and latency are measured through `runtime`: what is measured is the code that the
service answers with. A compressed variant outside the budget is left out, and the report says why:
every variant is held to the budget of quality, the float32 one to that of speed (the median at the
primary shape). `original` and `original-int8` are always measured, as the baselines that pruning
must beat. A job may measure several candidates: the original is written and evaluated once for all
of them, and latency is measured of what is published alone, unless a budget of speed depends on it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal

from isslim.compress.contract import Candidate, ModelTask, Published
from isslim.compress.export.notes import note
from isslim.compress.measurement.evidence import Evidence
from isslim.compress.measurement.int8_choice import Int8Choice, write_int8
from isslim.compress.measurement.reservations import reservations
from isslim.compress.measurement.verdict import conclude
from isslim.compress.progress import Progress
from isslim.compress.pruning.network import Model
from isslim.runtime.shape import Shape
from isslim.types.manifest import (
    CheckRecord,
    LatencyRecord,
    VariantName,
    VariantRecord,
)
from isslim.types.quality import MetricFormat, compared_loss, keeps, metric_format_of
from isslim.types.recommendation import recommended
from isslim.types.report import Conclusions
from isslim.types.wording import describe_run

_NO_INT8 = (
    "no weights can take 8 bits: LSTMs, matrix products and tables can where their weights are "
    "constants outside of If and Loop, a GRU or RNN where an 8-bit Scan is faster than ONNX "
    "Runtime's operator, which has no 8-bit form, and convolutions where that is faster"
)


@dataclass(frozen=True)
class Measured:
    """The variants worth publishing, the checks they passed, what was left out and why.

    Attributes:
        missed: what only its int8 form does not, though the original's would: a little less
            removed, and it might.
        losses: of a budget of quality, what was compared with it for every compressed form, left
            out or not.
    """

    variants: list[VariantRecord]
    checks: list[CheckRecord]
    left_out: list[str]
    missed: bool
    losses: dict[VariantName, float]

    @property
    def kept(self) -> bool:
        """Whether the compressed model in float32 keeps to the budget."""
        return any(variant.name == "compressed" for variant in self.variants)

    @property
    def published(self) -> Published:
        """What a search can learn from it."""
        return Published(
            self.kept,
            self.missed,
            self.losses.get("compressed-int8" if self.missed else "compressed"),
        )


@dataclass(frozen=True)
class _Exported:
    """The graphs of the original, or of a compressed model.

    Attributes:
        network: what they were made of.
        paths: of the float32 graph and, where weights can take 8 bits, of the int8 graph.
        int8: the form of the int8 graph.
        check: of the float32 graph.
    """

    network: Any
    paths: dict[VariantName, Path]
    int8: Int8Choice
    check: CheckRecord


@dataclass(frozen=True)
class _Evaluated:
    """The same graphs, and everything that is published of them but their latency."""

    exported: _Exported
    records: list[VariantRecord]
    left_out: list[str]


class Measurements(Generic[Model]):
    """Measures the candidates of one job.

    Args:
        task: the original and how it is measured.
        folder: takes the original's graphs, until a candidate is `finished`.
        progress: receives what is done.
        shapes: that variants are timed at, the primary one among them.
        upload_sha256: of the uploaded model, for the graphs' metadata; None: it is not known.
    """

    def __init__(
        self,
        task: ModelTask[Model],
        folder: Path,
        progress: Progress,
        shapes: Sequence[Shape],
        upload_sha256: str | None = None,
    ) -> None:
        self._task, self._folder, self._progress = task, folder, progress
        self._shapes, self._upload_sha256 = shapes, upload_sha256

    def of(self, compressed: Model, folder: Path) -> Measured:
        """Writes the graphs of a candidate, verifies and measures them.

        Their latency is measured only where a budget of speed depends on it.

        Args:
            compressed: the candidate.
            folder: takes `compressed.onnx` and, where weights can take 8 bits,
                `compressed-int8.onnx`; a graph that breaks the budget is deleted.

        Raises:
            VerificationFailed: when a float32 graph does not equal the network that it was made of.
        """
        task, original = self._task, self._original
        small = self._evaluated("compressed", compressed, folder)
        records = [*original.records, *small.records]
        budget, scale = task.recipe.budget, metric_format_of(task.metric)
        if budget.speedup is not None:
            records = self._timed(records, original.exported.paths | small.exported.paths)
        losses = {
            record.name: compared_loss(budget, record.loss, record.estimate)
            for record in small.records
            if budget.quality is not None
        }
        left_out, variants = [*original.left_out, *small.left_out], list[VariantRecord]()
        for record in records:
            fault = _outside(record, task, scale)
            if fault is None:
                variants.append(record)
                continue
            left_out.append(f"{record.name}: {fault}")
            if record.name in small.exported.paths:
                small.exported.paths[record.name].unlink()
        return Measured(
            variants,
            [original.exported.check, small.exported.check],
            left_out,
            _only_int8_missed(task, records, variants),
            losses,
        )

    def finished(self, measured: Measured, folder: Path) -> Measured:
        """The candidate to publish: with latency, and the original's graphs beside its own.

        Args:
            measured: the candidate.
            folder: of its graphs.
        """
        originals = self._original.exported.paths
        for variant in measured.variants:
            if variant.name in originals:
                originals[variant.name].rename(folder / variant.file)
        shutil.rmtree(self._folder)
        if all(variant.latency for variant in measured.variants):
            return measured
        self._progress.enter("measure", "latency of every variant")
        paths = {variant.name: folder / variant.file for variant in measured.variants}
        return replace(measured, variants=self._timed(measured.variants, paths))

    @cached_property
    def _original(self) -> _Evaluated:
        self._folder.mkdir(parents=True)
        return self._evaluated("original", self._task.original, self._folder)

    def _evaluated(
        self, name: Literal["original", "compressed"], network: Model, folder: Path
    ) -> _Evaluated:
        task, scale = self._task, metric_format_of(self._task.metric)
        exported = self._export(name, network, folder)
        self._progress.enter("measure", f"{scale.name} of the {name} model")
        metrics = dict[VariantName, dict[str, float]]()
        for done, (each, path) in enumerate(exported.paths.items(), 1):
            metrics[each] = task.measure(path)
            value = scale.value(metrics[each][task.metric])
            self._progress(0.5 * done, f"{each}: {scale.name} {value}")
        whole = exported.paths[name], metrics[name]
        if name == "compressed":
            original = self._original
            whole = original.exported.paths["original"], original.records[0].metrics
        records = [_record(task, exported, each, found, whole) for each, found in metrics.items()]
        left_out = []
        if exported.int8.form is None:
            remarks = filter(None, (_NO_INT8, exported.int8.remark))
            left_out.append(f"{name}-int8: {'; '.join(remarks)}")
        return _Evaluated(exported, records, left_out)

    def _export(
        self, name: Literal["original", "compressed"], network: Model, folder: Path
    ) -> _Exported:
        """Writes a float32 graph, verifies it, and writes its int8 form."""
        task = self._task
        self._progress.enter("export", f"writing the graphs of the {name} model")
        small: VariantName = "original-int8" if name == "original" else "compressed-int8"
        source, target = folder / f"{name}.onnx", folder / f"{small}.onnx"
        task.export(network, source)
        if network is not task.original or not task.original_as_sent:
            _note(task, network, source, self._upload_sha256)
        check = task.verify_export(source, network, name)
        whole = source if name == "original" else self._original.exported.paths["original"]
        chosen = write_int8(task, network, source, target, whole)
        self._progress(1.0, f"{small}: {chosen.description or 'nothing takes 8 bits'}")
        paths: dict[VariantName, Path] = {name: source}
        if chosen.form is not None:
            _note(task, network, target, self._upload_sha256)
            paths[small] = target
        return _Exported(network, paths, chosen, check)

    def _timed(
        self, records: Sequence[VariantRecord], paths: Mapping[VariantName, Path]
    ) -> list[VariantRecord]:
        """Records with the latency of their graphs at the shapes."""
        task = self._task
        timed: dict[VariantName, list[LatencyRecord]] = {record.name: [] for record in records}
        named: dict[str, Path] = dict(paths.items())
        for done, shape in enumerate(self._shapes, 1):
            compared = task.compare(named, shape)
            for name, latency in timed.items():
                primary = shape == task.primary_shape
                latency.append(compared[name].model_copy(update={"primary": primary}))
            told = f"latency of {_run(task, timed['original'][-1])}"
            self._progress(done / len(self._shapes), told)
        return [each.model_copy(update={"latency": timed[each.name]}) for each in records]


def _note(task: ModelTask[Model], network: Model, path: Path, upload_sha256: str | None) -> None:
    """Notes in a graph what it is of; the verdict is known only once all graphs are measured."""
    whole, left = (task.parameters(each.declaration()) for each in (task.original, network))
    size = f"{left:,} parameters" + ("" if network is task.original else f" of {whole:,}")
    eight = ", weights in 8 bits" if path.stem.endswith("int8") else ""
    about = {"task": task.task, "variant": path.stem, "model": task.recipe.name}
    about |= {} if upload_sha256 is None else {"upload_sha256": upload_sha256}
    note(path, f"'{task.recipe.name}', {path.stem}: {size}{eight}", about)


def _record(
    task: ModelTask[Model],
    exported: _Exported,
    name: VariantName,
    metrics: dict[str, float],
    original: tuple[Path, Mapping[str, float]],
) -> VariantRecord:
    """Everything that is published of a variant, but its latency.

    Args:
        task: how it was measured.
        exported: its graph among others.
        name: the variant.
        metrics: its own.
        original: the original's float32 graph, and the metrics of that.
    """
    path, chosen = exported.paths[name], exported.int8 if name.endswith("int8") else None
    declaration = exported.network.declaration()
    return VariantRecord(
        sizes=dict(declaration.axes),
        name=name,
        file=path.name,
        precision="float32" if chosen is None else "int8",
        eight_bit=[] if chosen is None else chosen.eight_bit.parts,
        float32=[] if chosen is None else chosen.eight_bit.rest,
        int8_form=None if chosen is None else chosen.description,
        tied=task.is_tied(declaration),
        size_bytes=path.stat().st_size,
        parts=task.parts(declaration),
        metrics=metrics,
        loss=task.loss(metrics, original[1]),
        estimate=None if name == "original" else task.estimate(path, original[0]),
        states=None if name == "original" else task.states(path),
    )


def conclusions_of(
    task: ModelTask[Model], variants: Sequence[VariantRecord], found: Candidate[Model]
) -> Conclusions:
    """The verdict on what is published.

    Args:
        task: the original, and how it was evaluated.
        variants: that are published, the original first.
        found: the candidate that they were made of, with what the search tried.
    """
    best, budget, scale = recommended(variants), task.recipe.budget, metric_format_of(task.metric)
    evidence = Evidence(
        variants,
        scale,
        label=lambda latency: _run(task, latency),
        breaks=lambda variant: (
            budget.quality is not None and not keeps(budget, variant.loss, variant.estimate)
        ),
        evaluated=task.origin.not_evaluated is None or task.evaluation is not None,
        curve=found.curve,
        sizes="" if found.allocation is None else found.allocation.reason,
        reservations=reservations(
            task.origin,
            scale,
            None if best is None else best.states,
            evaluated=task.evaluation is not None,
            limit=budget.quality,
        ),
    )
    return conclude(best, evidence)


def _only_int8_missed(
    task: ModelTask[Model], measured: list[VariantRecord], variants: list[VariantRecord]
) -> bool:
    """Whether the compressed int8 form misses a budget of quality that the original's keeps to."""
    budget = task.recipe.budget
    if budget.quality is None:
        return False
    affordable = any(
        each.name == "original-int8" and keeps(budget, each.loss, each.estimate)
        for each in variants
    )
    there, left = ([each.name for each in group] for group in (measured, variants))
    return affordable and "compressed-int8" in there and "compressed-int8" not in left


def _outside(variant: VariantRecord, task: ModelTask[Model], scale: MetricFormat) -> str | None:
    """How a compressed variant breaks the budget; None when it keeps to it.

    A size budget is kept by counting, before anything is measured.
    """
    if not math.isfinite(variant.loss):
        return "its outputs are not finite where the original's are"
    if not variant.name.startswith("compressed"):
        return None
    budget = task.recipe.budget
    if budget.quality is not None and not keeps(budget, variant.loss, variant.estimate):
        return scale.describe_excess(budget, variant.loss, variant.estimate)
    if budget.speedup is None or variant.precision != "float32":
        return None
    latency = variant.primary_latency
    if latency.speedup >= budget.speedup:
        return None
    over = latency.over_original
    found = (
        "its speed was not measured steadily"
        if over is None
        else f"measured {over.median:.2f} times as fast as the original ({over.low:.2f} to "
        f"{over.high:.2f})"
    )
    return f"{found}, the budget asks for {budget.speedup:g}"


def _run(task: ModelTask[Model], latency: LatencyRecord) -> str:
    return describe_run(task.task, latency.steps, latency.batch, latency.run)
