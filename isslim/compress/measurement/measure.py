"""Exports the variants of a bundle, verifies each graph, and measures quality, size and latency through `runtime`.

What is measured here is the code that the service answers with. A compressed variant outside the
budget is left out and the report says why: each is judged by its loss of quality, the float32 one
by its speed (the median at the shape that is spoken of). `original` and `original-int8` are always
measured, as the baselines that pruning must beat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from isslim.compress.contract import ModelTask, Published
from isslim.compress.measurement.int8_choice import Int8Choice, write_int8
from isslim.compress.measurement.reservations import reservations
from isslim.compress.measurement.verdict import conclude
from isslim.compress.progress import StageReport
from isslim.compress.pruning.network import Model
from isslim.types.manifest import CheckRecord, LatencyRecord, VariantName, VariantRecord
from isslim.types.quality import MetricFormat, compared_loss, keeps, metric_format_of
from isslim.types.report import Conclusions
from isslim.types.wording import describe_run

_NO_INT8 = (
    "no weights can take 8 bits: ONNX Runtime has no 8-bit GRU or RNN, and LSTMs, matrix products and tables can where their "
    "weights are constants outside of If, Loop and Scan"
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
    conclusions: Conclusions
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


def measure(
    task: ModelTask[Model], compressed: Model, folder: Path, stages: StageReport
) -> Measured:
    """Writes `<name>.onnx` and, where 8 bits help, `<name>-int8.onnx` into `folder` for original and compressed; measures all.

    Raises:
        VerificationFailed: when a float32 graph does not equal the network that it was made of.
    """
    networks: dict[VariantName, Model] = {}
    chosen: dict[str, Int8Choice] = {}
    checks = []
    pairs: tuple[tuple[VariantName, VariantName, Model], ...] = (
        ("original", "original-int8", task.original),
        ("compressed", "compressed-int8", compressed),
    )
    for name, small, network in pairs:
        source, target = folder / f"{name}.onnx", folder / f"{small}.onnx"
        task.export(network, source)
        checks.append(task.verify_export(source, network, name))
        networks[name] = network
        chosen[small] = write_int8(task, network, source, target)
        stages.progress(
            0.5 if name == "original" else 1.0,
            f"{small}: {chosen[small].description or 'nothing takes 8 bits'}",
        )
        if chosen[small].form is not None:
            networks[small] = network
    scale = metric_format_of(task.metric)
    stages.enter("measure", f"{scale.name} of every variant")
    paths: dict[str, Path] = {name: folder / f"{name}.onnx" for name in networks}
    found: dict[str, dict[str, float]] = {}
    for index, (variant, path) in enumerate(paths.items()):
        found[variant] = task.measure(path)
        stages.progress(
            0.7 * (index + 1) / len(paths),
            f"{variant}: {scale.name} {scale.value(found[variant][task.metric])}",
        )
    timed: dict[str, list[LatencyRecord]] = {name: [] for name in networks}
    for index, shape in enumerate(task.shapes):
        for each, latency in task.compare(paths, shape).items():
            timed[each].append(latency.model_copy(update={"spoken": shape == task.primary_shape}))
        stages.progress(
            0.7 + 0.3 * (index + 1) / len(task.shapes),
            f"latency of {_run(task, timed['original'][-1])}",
        )
    variants: list[VariantRecord] = []
    losses: dict[VariantName, float] = {}
    left_out = [f"{small}: {_NO_INT8}" for small, each in chosen.items() if each.form is None]
    for name, network in networks.items():
        declaration = network.declaration()
        record = VariantRecord(
            sizes=dict(declaration.axes),
            name=name,
            file=paths[name].name,
            precision="int8" if name.endswith("int8") else "float32",
            eight_bit=chosen[name].eight_bit.parts if name in chosen else [],
            float32=chosen[name].eight_bit.rest if name in chosen else [],
            int8_form=chosen[name].description if name in chosen else None,
            tied=task.is_tied(declaration),
            size_bytes=paths[name].stat().st_size,
            parts=task.parts(declaration),
            metrics=found[name],
            loss=task.loss(found[name], found["original"]),
            estimate=None if name == "original" else task.estimate(paths[name], paths["original"]),
            states=None if name == "original" else task.states(paths[name]),
            latency=timed[name],
        )
        if task.recipe.budget.quality is not None and name.startswith("compressed"):
            losses[name] = compared_loss(task.recipe.budget, record.loss, record.estimate)
        fault = _outside(record, task, scale)
        if fault is None:
            variants.append(record)
        else:
            left_out.append(f"{name}: {fault}")
            paths[name].unlink()
    by_name, limit = {variant.name: variant for variant in variants}, task.recipe.budget.quality
    best = best_compressed(variants)
    conclusions = conclude(
        best,
        variants,
        scale,
        _run(task, variants[0].primary_latency),
        breaks=lambda variant: (
            limit is not None and not keeps(task.recipe.budget, variant.loss, variant.estimate)
        ),
        evaluated=task.origin.not_judged is None or task.evaluation is not None,
        reservations=reservations(
            task.origin,
            scale,
            None if best is None else best.states,
            evaluated=task.evaluation is not None,
            limit=limit,
        ),
    )
    plain = by_name.get("original-int8")
    affordable = (
        limit is not None
        and plain is not None
        and keeps(task.recipe.budget, plain.loss, plain.estimate)
    )
    missed = affordable and "compressed-int8" in networks and "compressed-int8" not in by_name
    return Measured(variants, checks, left_out, conclusions, missed, losses)


def _outside(variant: VariantRecord, task: ModelTask[Model], scale: MetricFormat) -> str | None:
    """How a compressed variant breaks the budget; None when it keeps to it. A size budget was kept by counting."""
    if not math.isfinite(variant.loss):
        return "its outputs are not finite where the original's are"
    if not variant.name.startswith("compressed"):
        return None
    budget = task.recipe.budget
    if budget.quality is not None and not keeps(budget, variant.loss, variant.estimate):
        return scale.describe_excess(budget, variant.loss, variant.estimate)
    measured = variant.primary_latency
    if (
        budget.speedup is not None
        and variant.precision == "float32"
        and measured.speedup < budget.speedup
    ):
        return (
            f"measured {measured.speedup:.2f} times as fast as the original "
            f"({measured.speedup_low:.2f} to {measured.speedup_high:.2f}), the budget asks for {budget.speedup:g}"
        )
    return None


def _run(task: ModelTask[Model], latency: LatencyRecord) -> str:
    return describe_run(task.task, latency.steps, latency.batch, latency.run)


def best_compressed(variants: list[VariantRecord]) -> VariantRecord | None:
    """The smallest file among those that no other is surely faster than: whose interval overlaps the fastest's.

    Returns:
        None where no compressed variant is left.
    """
    pruned = [variant for variant in variants if variant.name.startswith("compressed")]
    if not pruned:
        return None
    fastest = max(pruned, key=lambda variant: variant.primary_latency.speedup)
    rivals = [
        each
        for each in pruned
        if each.primary_latency.speedup_high >= fastest.primary_latency.speedup_low
    ]
    return min(rivals, key=lambda variant: variant.size_bytes)
