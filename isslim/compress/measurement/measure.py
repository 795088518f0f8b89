"""Exports, verifies and measures the variants of a bundle.

Quality, size and latency are measured through `runtime`: what is measured is the code that the
service answers with. A compressed variant outside the budget is left out, and the report says why:
every variant is held to the budget of quality, the float32 one to that of speed (the median at the
primary shape). `original` and `original-int8` are always measured, as the baselines that pruning
must beat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """The graphs of the original and of the compressed model.

    Attributes:
        networks: by variant, what its graph was made of.
        paths: of the graphs.
        int8: by the name of an int8 variant, its form; one without a form has no graph.
        checks: of the float32 graphs.
    """

    networks: dict[VariantName, Any]
    paths: dict[VariantName, Path]
    int8: dict[VariantName, Int8Choice]
    checks: list[CheckRecord]


def measure(
    task: ModelTask[Model],
    compressed: Model,
    folder: Path,
    progress: Progress,
    shapes: Sequence[Shape],
    upload_sha256: str | None = None,
) -> Measured:
    """Writes the graphs of original and compressed model, verifies and measures them.

    Args:
        task: the original and how it is measured.
        compressed: the candidate.
        folder: takes `<name>.onnx` and, where weights can take 8 bits, `<name>-int8.onnx`; a graph
            that breaks the budget is deleted.
        progress: receives what is done.
        shapes: that variants are timed at, the primary one among them.
        upload_sha256: of the uploaded model, for the graphs' metadata; None: it is not known.

    Raises:
        VerificationFailed: when a float32 graph does not equal the network that it was made of.
    """
    exported = _export(task, compressed, folder, progress, upload_sha256)
    scale = metric_format_of(task.metric)
    progress.enter("measure", f"{scale.name} of every variant")
    metrics = _evaluate(task, exported.paths, scale, progress)
    latency = _time(task, exported.paths, progress, shapes)
    records = [_record(task, exported, name, metrics, latency[name]) for name in exported.networks]
    budget = task.recipe.budget
    losses = {
        record.name: compared_loss(budget, record.loss, record.estimate)
        for record in records
        if budget.quality is not None and record.name.startswith("compressed")
    }
    left_out = [
        f"{name}: {'; '.join(filter(None, (_NO_INT8, each.remark)))}"
        for name, each in exported.int8.items()
        if each.form is None
    ]
    variants = []
    for record in records:
        fault = _outside(record, task, scale)
        if fault is None:
            variants.append(record)
        else:
            left_out.append(f"{record.name}: {fault}")
            exported.paths[record.name].unlink()
    return Measured(
        variants,
        exported.checks,
        left_out,
        _only_int8_missed(task, records, variants),
        losses,
    )


def _export(
    task: ModelTask[Model],
    compressed: Model,
    folder: Path,
    progress: Progress,
    upload_sha256: str | None,
) -> _Exported:
    """Writes both float32 graphs, verifies them, and writes their int8 forms."""
    exported = _Exported({}, {}, {}, [])
    pairs: tuple[tuple[VariantName, VariantName, Model], ...] = (
        ("original", "original-int8", task.original),
        ("compressed", "compressed-int8", compressed),
    )
    for name, small, network in pairs:
        source, target = folder / f"{name}.onnx", folder / f"{small}.onnx"
        task.export(network, source)
        if network is not task.original or not task.original_as_sent:
            _note(task, network, source, upload_sha256)
        exported.checks.append(task.verify_export(source, network, name))
        exported.networks[name], exported.paths[name] = network, source
        chosen = exported.int8[small] = write_int8(
            task, network, source, target, exported.paths["original"]
        )
        progress(
            0.5 if name == "original" else 1.0,
            f"{small}: {chosen.description or 'nothing takes 8 bits'}",
        )
        if chosen.form is not None:
            _note(task, network, target, upload_sha256)
            exported.networks[small], exported.paths[small] = network, target
    return exported


def _note(task: ModelTask[Model], network: Model, path: Path, upload_sha256: str | None) -> None:
    """Notes in a graph what it is of; the verdict is known only once all graphs are measured."""
    whole, left = (task.parameters(each.declaration()) for each in (task.original, network))
    size = f"{left:,} parameters" + ("" if network is task.original else f" of {whole:,}")
    eight = ", weights in 8 bits" if path.stem.endswith("int8") else ""
    about = {"task": task.task, "variant": path.stem, "model": task.recipe.name}
    about |= {} if upload_sha256 is None else {"upload_sha256": upload_sha256}
    note(path, f"'{task.recipe.name}', {path.stem}: {size}{eight}", about)


def _evaluate(
    task: ModelTask[Model],
    paths: Mapping[VariantName, Path],
    scale: MetricFormat,
    progress: Progress,
) -> dict[VariantName, dict[str, float]]:
    """The metrics of every graph."""
    found = dict[VariantName, dict[str, float]]()
    for done, (name, path) in enumerate(paths.items(), 1):
        found[name] = task.measure(path)
        value = scale.value(found[name][task.metric])
        progress(0.7 * done / len(paths), f"{name}: {scale.name} {value}")
    return found


def _time(
    task: ModelTask[Model],
    paths: Mapping[VariantName, Path],
    progress: Progress,
    shapes: Sequence[Shape],
) -> dict[VariantName, list[LatencyRecord]]:
    """The latency of every graph at the shapes."""
    timed: dict[VariantName, list[LatencyRecord]] = {name: [] for name in paths}
    named: dict[str, Path] = dict(paths.items())
    for done, shape in enumerate(shapes, 1):
        compared = task.compare(named, shape)
        for name, records in timed.items():
            primary = shape == task.primary_shape
            records.append(compared[name].model_copy(update={"primary": primary}))
        progress(
            0.7 + 0.3 * done / len(shapes),
            f"latency of {_run(task, timed['original'][-1])}",
        )
    return timed


def _record(
    task: ModelTask[Model],
    exported: _Exported,
    name: VariantName,
    metrics: Mapping[VariantName, dict[str, float]],
    latency: list[LatencyRecord],
) -> VariantRecord:
    """Everything that is published of a variant."""
    path, chosen = exported.paths[name], exported.int8.get(name)
    declaration = exported.networks[name].declaration()
    return VariantRecord(
        sizes=dict(declaration.axes),
        name=name,
        file=path.name,
        precision="int8" if name.endswith("int8") else "float32",
        eight_bit=[] if chosen is None else chosen.eight_bit.parts,
        float32=[] if chosen is None else chosen.eight_bit.rest,
        int8_form=None if chosen is None else chosen.description,
        tied=task.is_tied(declaration),
        size_bytes=path.stat().st_size,
        parts=task.parts(declaration),
        metrics=metrics[name],
        loss=task.loss(metrics[name], metrics["original"]),
        estimate=None if name == "original" else task.estimate(path, exported.paths["original"]),
        states=None if name == "original" else task.states(path),
        latency=latency,
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
    latency = variant.primary_latency
    if (
        budget.speedup is None
        or variant.precision != "float32"
        or latency.speedup >= budget.speedup
    ):
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
