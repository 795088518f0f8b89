"""Which of several candidates is published when 8 bits miss a budget that float32 keeps to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from isslim.compress.contract import Quality
from isslim.compress.export.int8_forms import EightBit, Form
from isslim.compress.inspection.inspect import begin
from isslim.compress.kinds.registry import UploadedFiles
from isslim.compress.pipeline import Stages, compress_task, publish
from isslim.compress.progress import CallbackProgress
from isslim.compress.search.aims import ROUNDS
from isslim.store.bundles import BundleStore
from isslim.store.files import sha256_of
from isslim.store.settings import StoreSettings
from isslim.types.manifest import VariantRecord
from isslim.types.recipe import Budget, Recipe
from isslim.types.report import Report
from tests.conftest import Trained

RISE = 0.2


def spoilt(path: Path) -> None:
    """Makes a graph answer worse than any budget here: its decoder's bias leans to one token."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "decoder_bias":
            bias = numpy_helper.to_array(tensor).copy()
            bias[3] += 8
            tensor.CopyFrom(numpy_helper.from_array(bias.astype(np.float32), tensor.name))
    onnx.save(model, path)


def published(
    home: Path, trained: Trained, costly: Callable[[Path], bool], **options: Any
) -> tuple[dict[str, VariantRecord], list[str], Report]:
    """Compresses where 8 bits cost too much for the graphs that `costly` names."""
    # By the file: by time, two jobs on one host may choose other sizes.
    recipe = Recipe(
        name="choice",
        budget=Budget(perplexity_rise=RISE),
        calibration_tokens=1500,
        **{"optimize": "size"} | options,
    )
    task, inspection = begin(
        UploadedFiles(
            model=trained.model,
            vocabulary=trained.vocabulary,
            calibration=trained.calibration,
            held_out=trained.held_out,
        ),
        recipe,
        lambda found: None,
    )

    class Costly(type(task)):  # type: ignore[misc]
        def quantize(self, network: Any, source: Path, target: Path, form: Form) -> EightBit:
            found: EightBit = super().quantize(network, source, target, form)
            if source.name == "compressed.onnx" and costly(source):
                spoilt(target)
            return found

        def evaluate(self, network: Any) -> Quality:
            judged.append(network)
            return super().evaluate(network)  # type: ignore[no-any-return]

    judged: list[Any] = []
    task.__class__ = Costly
    settings, told = StoreSettings(home=home), list[str]()
    (home / "work").mkdir(parents=True)
    stages = Stages(CallbackProgress(lambda stage, done, message: told.append(message)))
    bundles, digest = BundleStore(settings), sha256_of(trained.model)
    compressed = compress_task(task, inspection, digest, home / "work", stages)
    bundle = bundles.open(publish(compressed, bundles, stages))
    assert not (home / "work" / "bundle").exists()
    cut = [weights(network) for network in judged if network is not task.original]
    assert len(cut) == len(set(cut))  # a search that comes again judges nothing anew
    report = Report.model_validate_json(bundle.path("report.json").read_text())
    return {variant.name: variant for variant in bundle.manifest.variants}, told, report


def steps(told: list[str]) -> int:
    return sum("stepping back" in message for message in told)


def weights(network: Any) -> bytes:
    return b"".join(each.tobytes() for each in network.arrays().values())


@pytest.fixture(scope="module")
def bold(
    trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> tuple[VariantRecord, list[str]]:
    """The small model where 8 bits cost little, and what was told."""
    found, told, _ = published(tmp_path_factory.mktemp("free") / "home", trained, lambda _: False)
    return found["compressed"], told


@pytest.mark.long
def test_a_little_less_is_removed_where_8_bits_then_keep_to_the_budget(
    bold: tuple[VariantRecord, list[str]], tmp_path: Path, trained: Trained
) -> None:
    boldest, told = bold
    assert steps(told) == 0
    found, told, report = published(
        tmp_path / "bound",
        trained,
        lambda source: source.stat().st_size <= boldest.size_bytes,
    )
    assert steps(told) == 1
    assert found["compressed"].parameters > boldest.parameters
    assert found["compressed-int8"].loss <= RISE
    assert report.left_out == []
    (chosen,) = (point for point in report.curve if point.chosen)
    assert chosen.sizes == found["compressed"].sizes


@pytest.mark.slow
def test_the_boldest_is_published_without_8_bits_where_none_keeps_to_it(
    bold: tuple[VariantRecord, list[str]], tmp_path: Path, trained: Trained
) -> None:
    found, told, report = published(tmp_path / "bound", trained, lambda source: True)
    assert steps(told) == ROUNDS
    assert set(found) == {"original", "original-int8", "compressed"}
    assert found["compressed"].parameters == bold[0].parameters
    assert any(each.startswith("compressed-int8: ") for each in report.left_out)
