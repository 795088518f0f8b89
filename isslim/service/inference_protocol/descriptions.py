"""What the protocol says of models: inputs and outputs, the repository, statistics."""

from __future__ import annotations

from collections import defaultdict

from prometheus_client import Metric

from isslim.runtime.graphs.recorded_inputs import Ports
from isslim.runtime.registry import why_unserved
from isslim.service.context import AppContext
from isslim.service.inference_protocol.inference import OpenGraph
from isslim.service.inference_protocol.messages import (
    Duration,
    IndexEntry,
    InferenceStatistics,
    ModelMetadata,
    ModelStatistics,
    TensorMetadata,
)
from isslim.service.inference_protocol.tensors import datatype_of
from isslim.service.model_reference import ModelReference

EXTENSIONS = ["binary_tensor_data", "model_repository", "model_configuration", "statistics"]


def metadata(reference: ModelReference, opened: OpenGraph) -> ModelMetadata:
    """Inputs and outputs of a variant.

    Args:
        reference: as it was asked for.
        opened: the variant.
    """
    return ModelMetadata(
        name=reference.model,
        versions=[each.name for each in opened.model.manifest.variants],
        inputs=_tensors(opened.graph.inputs),
        outputs=_tensors(opened.graph.outputs),
    )


def _tensors(ports: Ports) -> list[TensorMetadata]:
    return [
        TensorMetadata(
            name=name,
            datatype=datatype_of(kind),
            shape=[size if isinstance(size, int) else -1 for size in shape],
        )
        for name, (kind, shape) in ports.items()
    ]


def index(context: AppContext) -> list[IndexEntry]:
    """All models of the repository: one whose name means another model stands by its id."""
    found: list[IndexEntry] = []
    names = context.models.names.spoken()
    for each in context.models.bundles.listed():
        manifest = each.manifest
        name = names.get(each.id, each.id)
        versions = [""] if manifest is None else [variant.name for variant in manifest.variants]
        issues = each.issues or ([] if manifest is None else [why_unserved(manifest)])
        reason = "; ".join(filter(None, issues))
        found += [
            IndexEntry(
                name=name,
                version=version,
                state="UNAVAILABLE" if reason else "READY",
                reason=reason,
            )
            for version in versions
        ]
    return found


def statistics(context: AppContext, reference: ModelReference | None) -> list[ModelStatistics]:
    """How often and how long variants waited and ran, from the counters behind `/metrics`.

    Args:
        context: of the app.
        reference: a model, or one variant of it; None: all that ran.

    Raises:
        NotFound: when there is no such model.
        UnknownVariant: when it has no such variant.
    """
    families = {each.name: each for each in context.metrics.of_all_processes().collect()}
    queued = _durations(families.get("isslim_inference_queue_seconds"))
    ran = _durations(families.get("isslim_inference_run_seconds"))
    if reference is None:
        asked = [(model, model, variant) for model, variant in ran]
    else:
        bundle_id, manifest = context.models.manifest(reference.model)
        variants = (
            [reference.variant_of(manifest)]
            if reference.variant
            else [each.name for each in manifest.variants]
        )
        asked = [(reference.model, bundle_id, variant) for variant in variants]
    return [
        _statistics(name, variant, queued[model, variant], ran[model, variant])
        for name, model, variant in asked
    ]


def _statistics(name: str, variant: str, queue: Duration, run: Duration) -> ModelStatistics:
    return ModelStatistics(
        name=name,
        version=variant,
        inference_count=run.count,
        execution_count=run.count,
        inference_stats=InferenceStatistics(
            success=Duration(count=run.count, ns=queue.ns + run.ns),
            queue=queue,
            compute_infer=run,
        ),
    )


def _durations(histogram: Metric | None) -> dict[tuple[str, str], Duration]:
    """Counts and sums by model and variant, on all devices; None: nothing ran yet."""
    found: dict[tuple[str, str], Duration] = defaultdict(Duration)
    for sample in [] if histogram is None else histogram.samples:
        duration = found[sample.labels["model_id"], sample.labels["variant"]]
        if sample.name.endswith("_count"):
            duration.count += int(sample.value)
        elif sample.name.endswith("_sum"):
            duration.ns += int(1e9 * sample.value)
    return found
