"""Budgets of size and speed: kept by what is measured, refused by the figure that came closest."""

from __future__ import annotations

from pathlib import Path

import pytest

from isslim.compress.errors import BudgetNotMet
from isslim.compress.ingest.reading import IngestReport
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.sizes import parts, recurrent_layers
from isslim.compress.kinds.language.task import LanguageTask
from isslim.compress.kinds.language.texts import Texts, sample
from isslim.compress.measurement.measure import Measurements
from isslim.compress.progress import Progress
from isslim.compress.pruning import axes
from isslim.runtime.graphs.recorded_inputs import write_runs
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.recipe import Budget, Recipe
from isslim.types.report import Report
from tests.compress.kinds.graphs.models import inputs, layer_graph
from tests.compress.kinds.language.networks.slow import NETWORKS
from tests.compress.kinds.language.networks.test_networks import random_network
from tests.conftest import WORDS, Published, Trained, compress_in, train_small
from tests.tagger import compress


def test_compressed_variant_that_measures_slower_than_the_budget_is_left_out(
    tmp_path: Path, trained: Trained, published: Published
) -> None:
    codec = LoadedLanguageModel(BundleStore(published.settings).open(published.bundle_id)).codec
    # What a search may hand over after a lucky moment of the clock: a candidate no faster than the
    # original.
    held_out = sample(trained.network, 0, 400, seed=1)
    texts = Texts(held_out, held_out, held_out, "sampled", "sampled")
    task = LanguageTask(
        trained.network, texts, Recipe(budget=Budget(speedup=3.0)), codec, IngestReport("by hand")
    )
    measurements = Measurements(task, tmp_path / "original", Progress(), task.shapes)
    measured = measurements.of(trained.network, tmp_path)
    assert [variant.name for variant in measured.variants] == [
        "original",
        "original-int8",
        "compressed-int8",
    ]
    assert len(measured.left_out) == 1
    assert "the budget asks for 3" in measured.left_out[0]
    assert not (tmp_path / "compressed.onnx").exists()


@pytest.mark.slow
def test_published_model_keeps_the_speed_budget_as_measured(tmp_path: Path) -> None:
    network = LstmLanguageModel(LstmSpec(len(WORDS), 64, (128, 128)), dropout=0.1)
    trained = train_small(
        network, tmp_path, {"embedding": "encoder"}, epochs=1
    )  # speed asks little of the weights
    recipe = Recipe(name="fast", budget=Budget(speedup=1.5), calibration_tokens=1500)
    bundle = BundleStore(StoreSettings(home=tmp_path)).open(compress_in(tmp_path, trained, recipe))
    compressed = bundle.manifest.variant("compressed")
    assert compressed is not None
    assert compressed.primary_latency.speedup >= 1.5
    report = Report.model_validate_json(bundle.path("report.json").read_text())
    (chosen,) = [point for point in report.curve if point.chosen]
    assert chosen.units == compressed.units
    assert chosen.speedup is not None
    assert chosen.speedup >= 1.5


@pytest.mark.parametrize(
    ("budget", "closest"),
    [(Budget(size_ratio=1e-6), "smallest"), (Budget(speedup=900.0), "fastest")],
)
def test_refused_budget_names_the_point_that_came_closest(
    budget: Budget, closest: str, tmp_path: Path, trained: Trained
) -> None:
    with pytest.raises(BudgetNotMet, match=rf"the {closest} of \d+ tried") as refused:
        compress_in(
            tmp_path, trained, Recipe(budget=budget, calibration_tokens=1000, held_out_tokens=500)
        )
    curve, detail = refused.value.curve, refused.value.detail
    if closest == "fastest":
        assert f"reaches {max(point.speedup or 0 for point in curve):.3g} times" in detail
    else:
        whole = sum(parameter.numel() for parameter in trained.network.parameters())
        assert f"keeps {min(point.parameters for point in curve) / whole:.3g} of them" in detail
    assert not any(point.within_budget or point.chosen for point in curve)


def test_a_size_that_no_candidate_comes_near_to_is_refused_in_words(tmp_path: Path) -> None:
    graph = layer_graph(tmp_path, units=4)  # as many as every layer keeps
    write_runs(tmp_path / "runs.npz", inputs(12))
    recipe = Recipe(budget=Budget(size_ratio=0.7), ranks=False)
    with pytest.raises(BudgetNotMet, match=r"the smallest of \d+ tried keeps all of them, at "):
        compress(tmp_path, graph, recipe, calibration=tmp_path / "runs.npz")


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_sum_to_the_recurrent_part(name: str) -> None:
    network = random_network(name)
    declaration = network.declaration()
    every, layers = parts(declaration), recurrent_layers(declaration)
    assert [layer.axis for layer in layers] == [
        axis for axis in declaration.axes if axis.startswith("units:")
    ]
    assert [part.name for part in every] == [
        "embedding",
        *(layer.name for layer in layers),
        "softmax",
    ]
    assert sum(part.parameters for part in every) == axes.parameters(declaration)
    assert sum(part.mult_adds for part in every) == axes.mult_adds(declaration)
    recurrent = [
        p for key, p in network.named_parameters() if not key.startswith(("embedding", "decoder"))
    ]
    assert sum(p.numel() for p in recurrent) == sum(layer.parameters for layer in layers)
