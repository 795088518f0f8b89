"""A published question-answering model of random weights, for benchmarks of time and for tests.

Its answers mean nothing. Everything else is as in a bundle of the pipeline: graphs written,
quantized and opened by the same code, and a codec with words, vectors and characters.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.questions.examples import prepare
from isslim.compress.kinds.questions.export import export
from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.sampling import sample_answers
from isslim.compress.kinds.questions.squad import Paragraph, Question
from isslim.runtime.questions.question_tokenizer import PassageCodec
from isslim.runtime.questions.session import QuestionSession
from isslim.store.bundles import BundleStore
from isslim.store.folders import seal
from isslim.store.settings import StoreSettings
from isslim.types.manifest import AxisRecord, Manifest, PartRecord, VariantName, VariantRecord
from isslim.types.provenance import Provenance
from isslim.types.recipe import Recipe
from isslim.types.report import Report

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,?!'-"


def random_reader(spec: BidafSpec, seed: int, spread: float = 0.0) -> Bidaf:
    """A network of random weights.

    Args:
        spec: its sizes.
        seed: of the weights.
        spread: standard deviation of all weights; 0: as a new network has them.
    """
    torch.manual_seed(seed)
    network = Bidaf(spec).eval()
    if spread:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_(0, spread)
    return network


def publish_reader(
    settings: StoreSettings,
    words: Sequence[str],
    original: Bidaf,
    compressed: Bidaf,
    *,
    name: str = "reader",
) -> str:
    """Publishes both networks, each also in int8, and returns the bundle's id.

    Args:
        settings: whose home takes the bundle.
        words: those that get a vector.
        original: of `len(LETTERS) + 2` characters.
        compressed: reads the same vectors and characters.
        name: of the model.
    """
    codec = PassageCodec(
        words, np.random.default_rng(0).normal(size=(len(words), original.spec.vectors)), LETTERS
    )
    with tempfile.TemporaryDirectory(dir=settings.home) as work:
        folder = Path(work)
        codec.save(folder)
        variants = []
        pairs: tuple[tuple[VariantName, VariantName, Bidaf], ...] = (
            ("original", "original-int8", original),
            ("compressed", "compressed-int8", compressed),
        )
        for plain, small, network in pairs:
            export(network, folder / f"{plain}.onnx")
            parts = quantize(folder / f"{plain}.onnx", folder / f"{small}.onnx").parts
            variants += [
                _record(plain, network, folder, []),
                _record(small, network, folder, parts),
            ]
        manifest = Manifest(
            task="question-answering",
            metric="f1",
            name=name,
            created_at=datetime.now(UTC),
            architecture=original.architecture,
            recipe=Recipe(name=name),
            axes=[
                AxisRecord(name=axis, original=size, kept=kept, kept_indices=list(range(kept)))
                for (axis, size), kept in zip(
                    original.declaration().axes.items(),
                    compressed.declaration().axes.values(),
                    strict=True,
                )
            ],
            variants=variants,
            checks=[],
            provenance=Provenance(
                upload_sha256="0" * 64,
                layout="random weights",
                calibration="none",
                held_out="none",
                versions={},
                machine="any",
                seconds={},
            ),
            files=[],
        )
        # Opened and asked as the service will, before it is published.
        sides: tuple[VariantName, VariantName] = ("original", "compressed-int8")
        sessions = {side: QuestionSession(folder / f"{side}.onnx") for side in sides}
        asked = prepare(
            [Paragraph("the cat sat on the mat", (Question("1", "who sat?", ()),))], codec
        )
        report = Report(
            curve=[],
            verdict="random weights: quality was not evaluated",
            original_value=0.0,
            samples=sample_answers(sessions, codec, asked),
        )
        (folder / "report.json").write_text(report.model_dump_json())
        (folder / "README.md").write_text(f"# {name}\n\nRandom weights.\n")
        seal(folder, manifest)
        return BundleStore(settings).publish(folder)


def _record(name: VariantName, network: Bidaf, folder: Path, eight_bit: list[str]) -> VariantRecord:
    file = folder / f"{name}.onnx"
    parameters = sum(array.size for array in network.arrays().values())
    return VariantRecord(
        sizes=dict(network.declaration().axes),
        name=name,
        file=file.name,
        precision="int8" if eight_bit else "float32",
        eight_bit=eight_bit,
        size_bytes=file.stat().st_size,
        parts=[PartRecord(name="all", width=0, parameters=parameters, mult_adds=0)],
        metrics={"f1": 0.0, "exact_match": 0.0},
        loss=0.0,
    )
