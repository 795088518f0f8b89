"""One published model through the whole pipeline: size, outputs, task and latency of each form."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.published.model import NotInstalled, Published, Speakers, Streams, version_of
from benchmarks.published.playing import streamed
from isslim.compress.errors import CompressError
from isslim.compress.kinds.registry import UploadedFiles as Uploads
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import read_graph
from isslim.compress.onnx.trace.edits import key
from isslim.compress.pipeline import compress_files, publish
from isslim.compress.progress import Progress
from isslim.runtime.graphs.recorded_inputs import TARGET, GraphSession, NamedArrays, write_runs
from isslim.store.bundles import BundleStore
from isslim.store.folders import OpenBundle
from isslim.store.settings import StoreSettings
from isslim.types.manifest import VariantRecord
from isslim.types.quality import output_change
from isslim.types.report import Report

Row = dict[str, object]
Recorded = list[list[tuple[NamedArrays, NamedArrays]]]
"""Inputs, states and targets among them, and outputs of the runs of every stream."""
CHANGE = "change of outputs, %"
"""The metric of a model without a task."""


def measured(model: Published, speakers: Speakers, change: float, minutes: float | None) -> Row:
    """Compresses one model and measures what came out, or says why it was skipped.

    Args:
        model: which.
        speakers: by number.
        change: the change of outputs that is allowed where the model has no limit of its own.
        minutes: most minutes of distillation; None: the product's default.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        try:
            path, version = model.graph(home), version_of(model.package)
        except NotInstalled as error:
            return {"model": model.name, "skipped": str(error)}
        whole = GraphSession(path)
        held_out = _recorded(model, whole, model.streams(speakers, model.held_out))
        calibration = _recorded(model, whole, model.streams(speakers, model.calibration))
        for file, runs in (("calibration.npz", calibration), ("held-out.npz", held_out)):
            write_runs(home / file, [given for stream in runs for given, _ in stream])
        uploads = Uploads(
            model=path, calibration=home / "calibration.npz", held_out=home / "held-out.npz"
        )
        recipe, store = model.recipe(change, minutes), BundleStore(StoreSettings(home=home))
        try:
            compressed = compress_files(uploads, recipe, home / "work", Progress())
            bundle = store.open(publish(compressed, store, Progress()))
        except CompressError as error:
            reason = "; ".join([error.detail, *error.issues[:2]])
            return {"model": model.name, "version": version, "skipped": f"{error.title}: {reason}"}
        seconds = round(time.monotonic() - began, 1)
        variants = [
            _variant(model, speakers, each, bundle.path(each.file), held_out)
            for each in bundle.manifest.variants
        ]
        return {
            "model": model.name,
            "version": version,
            **compared(model, variants),
            "seconds": seconds,
            "nested": _nested(path),
            **_reported(bundle),
            "variants": variants,
        }


def compared(model: Published, variants: list[Row]) -> Row:
    """The task of a model in its forms, and how much faster the best of them is.

    Args:
        model: which.
        variants: as they were measured, the original first.

    Returns:
        `variant` is the fastest compressed one; it is not `steady` where the host was too busy for
        its times to be relied on.
    """
    forms = {str(each["variant"]): each for each in variants}
    compressed = [each for name, each in forms.items() if name.startswith("compressed")]
    best = max(compressed, key=lambda each: float(str(each["speedup"])))
    int8, task = forms.get("original-int8"), model.task
    return {
        "metric": CHANGE if task is None else task.metric,
        "better": "lower" if task is None else task.better,
        "truth": "the outputs of the original" if task is None else task.truth,
        "original": forms["original"]["score"],
        "int8": None if int8 is None else int8["score"],
        "compressed": best["score"],
        "variant": best["variant"],
        "over_original": best["speedup"],
        "over_int8": best["over_int8"],
        "steady": best["steady"],
        "parameters_before": forms["original"]["parameters"],
        "parameters_after": best["parameters"],
    }


def _reported(bundle: OpenBundle) -> Row:
    report = Report.model_validate_json(bundle.path("report.json").read_bytes())
    provenance, recipe = bundle.manifest.provenance, bundle.manifest.recipe
    return {
        "budget": {"metric": recipe.metric, "loss": recipe.budget.quality},
        "verdict": report.verdict,
        "left_out": report.left_out,
        "left_alone": report.notes,
        "judged_on": provenance.held_out,
        "largest_error": max(check.error for check in bundle.manifest.checks),
        "machine": provenance.machine,
    }


def _nested(path: Path) -> int:
    """How many groups of recurrent units lie in the body of another operator."""
    network = GraphNetwork.from_model(read_graph(path))
    top = {key(node) for node in network.trace.parts.structure.graph.node}
    return sum(key(layer.recurrent.node) not in top for layer in network.trace.layers)


def _variant(
    model: Published, speakers: Speakers, each: VariantRecord, path: Path, held_out: Recorded
) -> Row:
    graph, latency = GraphSession(path), each.primary_latency
    wanted = [outputs for stream in held_out for _, outputs in stream]
    single = [graph.run(_inputs(given)) for stream in held_out for given, _ in stream]
    change, own = _change(model, single, wanted), None
    if model.states:
        bare = [
            [{name: given[name] for name in given if name not in model.states} for given, _ in each]
            for each in held_out
        ]
        again = _recorded(model, graph, bare)
        own = _change(model, [outputs for stream in again for _, outputs in stream], wanted)
    int8 = latency.against_int8
    return {
        "variant": each.name,
        "units": ", ".join(map(str, each.sizes.values())),
        "parameters": each.parameters,
        "megabytes": each.size_bytes / 1e6,
        "score": 100 * change if model.task is None else model.task.score(graph, speakers),
        "loss": each.loss,
        "change": change,
        "streamed_change": own,
        "median_ms": latency.milliseconds,
        "speedup": latency.speedup,
        "speedup_low": latency.speedup_low,
        "speedup_high": latency.speedup_high,
        "over_int8": None if int8 is None else int8.median,
        "steady": latency.steady,
    }


def _recorded(model: Published, graph: GraphSession, streams: Streams) -> Recorded:
    return [streamed(model.states, graph, stream) for stream in streams]


def _inputs(given: NamedArrays) -> NamedArrays:
    return {name: array for name, array in given.items() if not name.startswith(TARGET)}


def _change(model: Published, found: list[NamedArrays], wanted: list[NamedArrays]) -> float:
    """Of the output that changes most; states are none."""
    states = {output for output, _ in model.states.values()}
    return max(
        output_change([(one[name], other[name]) for one, other in zip(found, wanted, strict=True)])
        for name in wanted[0]
        if name not in states
    )
