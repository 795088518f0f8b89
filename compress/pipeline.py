"""The only place that knows the order of the stages: from an upload to a published bundle.

ingest -> texts -> observe -> search (prune, repair, judge) -> fine-tune -> export -> verify -> measure -> card -> publish

Each stage takes values and returns new ones. Everything is written in the job's own folder; the store sees a bundle
only when it is whole and verified.
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
from typing import ClassVar, Literal

import torch

from compress.calibrate import Learned, Pruned, learn
from compress.card import write_card
from compress.errors import BudgetNotMet
from compress.export import check_size
from compress.finetuning import finetune
from compress.ingest.layouts import Ingested, read_model
from compress.ingest.vocabulary import read_tokenizer
from compress.measurement import Candidate, measure
from compress.networks.contract import LanguageModel
from compress.observation import observe
from compress.search import find
from compress.texts import Texts, read_texts
from compress.verification import verify_removal
from runtime.text import TextCodec
from store.bundles import BundleStore, seal
from store.jobs import CompressionRequest
from store.manifest import AxisRecord, CheckRecord, Manifest, Provenance, Recipe, Report

INT8_INSTRUCTIONS = ("avx_vnni", "avx512_vnni", "avx_vnni_int8", "amx_int8", "dot", "i8mm")
"""What the speed of int8 depends on: x86's, then ARM's. Without them a product takes several instructions."""

Progress = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Inputs:
    """The uploaded files of a job, on local disk."""

    model: Path
    config: Path | None = None
    vocabulary: Path | None = None
    calibration: Path | None = None
    held_out: Path | None = None


class Stages:
    """Reports progress and keeps the wall time of each stage. Shares of the whole are rough, and only for the bar."""

    STARTS: ClassVar = {
        "ingest": 0.0, "observe": 0.05, "search": 0.15, "fine-tune": 0.4, "export": 0.7, "measure": 0.75, "publish": 0.97,
    }  # fmt: skip

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._name, self._since = "", time.monotonic()

    def enter(self, name: str, message: str) -> None:
        """Begins a stage; the one before it ends."""
        self.note()
        self._name, self._since = name, time.monotonic()
        self.tell(0.0, message)

    def note(self) -> None:
        """Writes down the time that the current stage has taken so far."""
        if self._name:
            self.seconds[self._name] = round(time.monotonic() - self._since, 2)

    def tell(self, done: float, message: str) -> None:
        """Progress inside the current stage: `done` from 0 to 1."""
        starts = [*self.STARTS.values(), 1.0]
        index = list(self.STARTS).index(self._name)
        self._progress(self._name, starts[index] + done * (starts[index + 1] - starts[index]), message)


def run(request: CompressionRequest, inputs: Inputs, work: Path, report: Progress, bundles: BundleStore) -> str:
    """Compresses an uploaded model and publishes the bundle.

    Args:
        request: the recipe and the uploads' hashes.
        inputs: the uploads' local files.
        work: the job's folder; checkpoints in it are resumed from.
        report: called with stage, share of the whole done (0 to 1) and a message.
        bundles: where the bundle goes.

    Returns:
        The bundle's id.

    Raises:
        CompressError: an answer for the person who uploaded; nothing was published.
    """
    torch.manual_seed(request.recipe.seed)
    stages, recipe = Stages(report), request.recipe
    stages.enter("ingest", "reading the model")
    ingested = read_model(inputs.model, inputs.config)
    check_size(ingested.network)
    tokenizer, contract = read_tokenizer(inputs.vocabulary, ingested, recipe)
    codec, original = TextCodec(tokenizer, contract), ingested.network
    texts = read_texts(original, codec, inputs.calibration, inputs.held_out, recipe)

    stages.enter("observe", f"observing {texts.calibration_origin}")
    learned = _learn(original, texts, recipe, stages)

    bundle, refused = work / "bundle", list[str]()
    for allowance in _allowances(recipe):
        stages.enter("search", "searching the smallest model within the budget")
        try:
            outcome = find(learned, original, texts.held_out, recipe, work, stages.tell, allowance)
        except BudgetNotMet as answer:
            raise BudgetNotMet("; ".join([*refused, answer.detail]), curve=answer.curve) from answer
        checks = [_verify(outcome.pruned, original, texts)]
        compressed: LanguageModel = original.rebuilt(outcome.pruned.arrays)
        tuned = None
        if recipe.finetune_minutes > 0:
            stages.enter("fine-tune", "distilling the original into the small model")
            folder = work / "finetune" / f"{allowance:g}"
            compressed, tuned = finetune(compressed, original, texts, recipe, folder, stages.tell)
        stages.enter("export", "writing the graphs")
        shutil.rmtree(bundle, ignore_errors=True)
        bundle.mkdir(parents=True)
        tokenizer.save(str(bundle / "tokenizer.json"))
        candidates = [Candidate("original", original), Candidate("compressed", compressed)]
        measured = measure(candidates, codec, texts.held_out, recipe.budget, bundle, stages)
        checks += measured.checks
        if any(variant.name == "compressed" for variant in measured.variants):
            break
        refused = measured.left_out
        stages.tell(1.0, f"stepping back: {'; '.join(refused)}")
    else:
        raise BudgetNotMet("; ".join(refused), curve=outcome.curve)

    stages.enter("publish", "writing the card")
    manifest = Manifest(
        name=recipe.name,
        created_at=datetime.now(UTC),
        architecture=original.architecture,
        recipe=recipe,
        text=contract,
        axes=_axes(learned, outcome.pruned),
        variants=measured.variants,
        checks=checks,
        provenance=_provenance(request, ingested, texts, tuned, stages),
        files=[],
    )
    summary = Report(curve=outcome.curve, verdict=measured.verdict, left_out=measured.left_out)
    (bundle / "report.json").write_text(summary.model_dump_json(indent=2))
    write_card(bundle, manifest, summary)
    seal(bundle, manifest)
    bundle_id = bundles.publish(bundle)
    shutil.rmtree(bundle, ignore_errors=True)
    stages.tell(1.0, f"published {bundle_id}: {summary.verdict}")
    return bundle_id


def _learn(original: LanguageModel, texts: Texts, recipe: Recipe, stages: Stages) -> Learned:
    observed = observe(original, texts.calibration, progress=lambda done: stages.tell(0.5 * done, "observing"))
    stages.tell(0.5, "ordering the components")
    declaration = original.declaration()
    prunable = [axis for axis in declaration.axes if recipe.prune_embedding or axis != "embedding"]
    return learn(
        original.arrays(),
        declaration,
        observed,
        prunable=prunable,
        count=_valued(recipe),
    )


def _allowances(recipe: Recipe) -> tuple[float, ...]:
    """What to multiply a budget with before searching, until the measured figure keeps to the budget itself.

    With fine-tuning to follow, a greater rise than the budget's is allowed before it: distillation wins that back. A
    size is counted, so it needs no second search.
    """
    if recipe.budget.size_ratio is not None:
        return (1.0,)
    if recipe.budget.speedup is not None:
        return (1.0, 1.08, 1.2)
    return (1.5, 0.97, 0.85) if recipe.finetune_minutes > 0 else (0.97, 0.85, 0.7)


def _valued(recipe: Recipe) -> Literal["parameters", "mult_adds", "both"]:
    """A size budget counts parameters, a speed budget work, a quality budget both."""
    if recipe.budget.size_ratio is not None:
        return "parameters"
    return "mult_adds" if recipe.budget.speedup is not None else "both"


def _verify(pruned: Pruned, original: LanguageModel, texts: Texts) -> CheckRecord:
    return verify_removal(original.rebuilt(pruned.arrays), original.rebuilt(pruned.reference), texts.held_out)


def _axes(learned: Learned, pruned: Pruned) -> list[AxisRecord]:
    return [
        AxisRecord(name=axis, original=size, kept=len(pruned.keep[axis]), kept_indices=pruned.keep[axis].tolist())
        for axis, size in learned.declaration.axes.items()
    ]


def _provenance(
    request: CompressionRequest, ingested: Ingested, texts: Texts, tuned: str | None, stages: Stages
) -> Provenance:
    stages.note()
    return Provenance(
        upload_sha256=request.model.sha256,
        layout=ingested.layout,
        calibration=texts.calibration_origin,
        held_out=texts.held_out_origin,
        finetune=tuned,
        versions={name: version(name) for name in ("torch", "onnx", "onnxruntime", "numpy")},
        machine=_machine(),
        int8_instructions=[name for name in INT8_INSTRUCTIONS if torch.cpu.get_capabilities().get(name)],
        seconds=stages.seconds,
    )


def _machine() -> str:
    threads, processor = torch.get_num_threads(), torch.cpu.get_capabilities().get("cpu_name")
    named = f"{processor} ({platform.machine()})" if processor else platform.machine()
    return f"{named}, {threads} {'thread' if threads == 1 else 'threads'}"
