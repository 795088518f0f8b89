"""Graphs evaluated by an operator's command, through the whole pipeline and a worker's child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from isslim.client.show import comparison_table, terminal
from isslim.compress.errors import (
    BudgetNotMet,
    EvaluationFailed,
    EvaluationUnknown,
    ModeUnavailable,
    RunsUnusable,
)
from isslim.compress.inspection.inspect import begin
from isslim.compress.kinds.registry import UploadedFiles, read_task
from isslim.runtime.graphs.recorded_inputs import GraphSession, write_runs
from isslim.settings.worker import Evaluation, Evaluations
from isslim.store.bundles import BundleStore
from isslim.store.folders import OpenBundle
from isslim.store.settings import StoreSettings
from isslim.types.inspection import Inspection
from isslim.types.jobs import CompressionRequest
from isslim.types.recipe import Budget, Recipe
from isslim.types.report import Report
from tests.tagger import TAGS, compress, recorded, tagger_graph
from tests.uploads import stored

ACCURACY = """
import hashlib, sys
import numpy as np, onnxruntime
model, data, log = sys.argv[1:]
with open(log, "a") as calls:
    calls.write(hashlib.sha256(open(model, "rb").read()).hexdigest() + "\\n")
options = onnxruntime.SessionOptions()
# As in the runtime: sums of an int8 graph differ with the number of threads.
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
runs = np.load(data)
right = []
for index in range(len(runs.files) // 2):
    scores, = session.run(None, {"ids": runs[f"{index}/ids"]})
    right.append((scores.argmax(-1) == runs[f"{index}/wanted"]).ravel())
print("accuracy over", len(right), "runs")
print(100 * np.concatenate(right).mean())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger's graph, its inputs, and labels that only the evaluation knows."""
    made = tmp_path_factory.mktemp("tagger")
    tagger_graph(made)
    write_runs(made / "recorded.npz", recorded(40))
    labelled = {}
    for index, run in enumerate(recorded(20, seed=5)):
        labelled |= {
            f"{index}/ids": run["ids"],
            f"{index}/wanted": np.cumsum(run["ids"] < 8, 0) % TAGS,
        }
    np.savez(made / "labelled.npz", **labelled)
    (made / "accuracy.py").write_text(ACCURACY)
    return made


def accuracy(folder: Path, log: Path, **limits: object) -> Evaluations:
    command = [
        sys.executable,
        str(folder / "accuracy.py"),
        "{model}",
        str(folder / "labelled.npz"),
        str(log),
    ]
    return {
        "accuracy": Evaluation.model_validate({"command": command, "better": "higher", **limits})
    }


def opened(home: Path, bundle_id: str) -> OpenBundle:
    return BundleStore(StoreSettings(home=home)).open(bundle_id)


def share_right(path: Path, folder: Path) -> float:
    """Per cent of the tags that a graph gets right, by the runtime."""
    graph, runs = GraphSession(path), np.load(folder / "labelled.npz")
    right = [
        (
            graph.run({"ids": runs[f"{index}/ids"]})["scores"].argmax(-1) == runs[f"{index}/wanted"]
        ).ravel()
        for index in range(len(runs.files) // 2)
    ]
    return 100 * float(np.concatenate(right).mean())


def test_budget_of_an_evaluation_is_kept_and_no_graph_is_evaluated_twice(
    folder: Path, tmp_path: Path
) -> None:
    log = tmp_path / "calls"
    recipe = Recipe(name="tagger", metric="command:accuracy", budget=Budget(output_change=0.05))
    bundle_id = compress(
        tmp_path,
        folder / "tagger.onnx",
        recipe,
        calibration=folder / "recorded.npz",
        evaluations=accuracy(folder, log),
    )
    bundle = opened(tmp_path, bundle_id)
    manifest = bundle.manifest
    assert manifest.metric == "command:accuracy"
    original = share_right(bundle.path("original.onnx"), folder)
    assert original > 60  # the tagger is trained: there is something to lose
    for variant in manifest.variants:
        found = share_right(bundle.path(variant.file), folder)
        assert variant.metrics == {"command:accuracy": pytest.approx(found, rel=1e-9)}
        assert variant.loss == pytest.approx((original - found) / original, abs=1e-12)
        assert variant.loss <= 0.05 or not variant.name.startswith("compressed")
    compressed = manifest.variant("compressed")
    assert compressed is not None
    assert compressed.parameters < 0.9 * manifest.variants[0].parameters

    calls = Counter(log.read_text().split())
    assert set(calls.values()) == {1}
    report = Report.model_validate_json(bundle.path("report.json").read_bytes())
    tried = {tuple(point.sizes.values()) for point in report.curve}
    # The original, the candidates, the chosen one with its two weaker corrections, and both in 8
    # bits.
    assert len(calls) <= 1 + len(tried) + 2 + 2
    card = bundle.path("README.md").read_text()
    assert (
        "Quality was evaluated by the evaluation `accuracy`, a command of the worker's operator "
        "(higher is better" in card
    )
    assert f"run {len(calls)} times" in card
    assert "requested: a worsening of accuracy of at most 5.00%" in card
    assert str(folder) not in card
    assert "quick estimate" not in card
    console = terminal()
    with console.capture() as captured:
        console.print(comparison_table(manifest))
    assert "accuracy" in captured.get()


@pytest.mark.slow
def test_budget_of_size_asks_only_of_what_is_published(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    recipe = Recipe(metric="command:accuracy", budget=Budget(size_ratio=0.5))
    bundle = opened(
        tmp_path,
        compress(
            tmp_path,
            folder / "tagger.onnx",
            recipe,
            calibration=folder / "recorded.npz",
            evaluations=accuracy(folder, log),
        ),
    )
    calls = log.read_text().split()
    assert len(calls) == len(set(calls)) == len(bundle.manifest.variants)
    report = Report.model_validate_json(bundle.path("report.json").read_bytes())
    (point,) = report.curve
    assert point.chosen
    assert point.within_budget
    assert "asked of none but the chosen candidate" in bundle.path("README.md").read_text()


@pytest.mark.slow
def test_without_inputs_the_quality_is_real_and_the_rest_is_marked_as_random(
    folder: Path, tmp_path: Path
) -> None:
    recipe = Recipe(metric="command:accuracy", budget=Budget(output_change=0.2))
    bundle = opened(
        tmp_path,
        compress(
            tmp_path,
            folder / "tagger.onnx",
            recipe,
            evaluations=accuracy(folder, tmp_path / "calls"),
        ),
    )
    card = bundle.path("README.md").read_text()
    assert "Calibrated and timed on random inputs" in card
    assert "> **Calibrated on random inputs.**" in card[:900]
    assert "valuated on random" not in card
    console = terminal()
    with console.capture() as captured:
        console.print(comparison_table(bundle.manifest))
    assert "Calibrated and timed on random inputs" in captured.get()


def test_evaluation_that_fails_on_the_original_ends_the_job_before_anything_is_observed(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "fails.py").write_text("import sys; sys.exit('the labels are gone')")
    known = {
        "accuracy": Evaluation(command=[sys.executable, str(tmp_path / "fails.py"), "{model}"])
    }
    recipe = Recipe(metric="command:accuracy")
    with pytest.raises(
        EvaluationFailed, match="'accuracy' of the original ended with status 1"
    ) as failed:
        compress(tmp_path, folder / "tagger.onnx", recipe, evaluations=known)
    assert failed.value.issues == ["the last line that it wrote: the labels are gone"]


def test_evaluation_is_not_run_by_an_inspection(folder: Path, tmp_path: Path) -> None:
    log, told = tmp_path / "calls", list[Inspection]()
    begin(
        UploadedFiles(model=folder / "tagger.onnx", calibration=folder / "recorded.npz"),
        Recipe(metric="command:accuracy"),
        told.append,
        accuracy(folder, log),
        looking=True,
    )
    (found,) = told
    assert (found.understood, found.kind, found.metric) == (True, "graph", "command:accuracy")
    assert found.evaluated_on.startswith("evaluation `accuracy`")
    assert [layer.size for layer in found.layers] == [24, 24, 12]  # units, embedding
    assert found.layout.startswith("ONNX graph, opset")
    assert not found.random_inputs
    assert not log.exists()
    write_runs(tmp_path / "other.npz", [{"other": run["ids"]} for run in recorded(3)])
    inputs = UploadedFiles(model=folder / "tagger.onnx", calibration=tmp_path / "other.npz")
    with pytest.raises(RunsUnusable):
        begin(inputs, Recipe(), told.append, looking=True)
    assert not told[-1].understood
    # The graph is understood, whatever its inputs.
    assert [layer.size for layer in told[-1].layers] == [24, 24, 12]


def test_evaluation_that_fails_on_a_candidate_is_reported(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "tagger.onnx").stat().st_size
    (tmp_path / "fails.py").write_text(
        f"import os, sys; print(5 if os.path.getsize(sys.argv[1]) == {whole} else 'lost')"
    )
    known = {"own": Evaluation(command=[sys.executable, str(tmp_path / "fails.py"), "{model}"])}
    with pytest.raises(
        EvaluationFailed, match="'own' of a compressed graph printed 'lost' as its last line"
    ):
        compress(
            tmp_path,
            folder / "tagger.onnx",
            Recipe(metric="command:own"),
            calibration=folder / "recorded.npz",
            evaluations=known,
        )


def test_budget_that_the_evaluation_never_grants_ends_as_that_answer(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "strict.py").write_text("import os, sys; print(1e9 / os.path.getsize(sys.argv[1]))")
    known = {"strict": Evaluation(command=[sys.executable, str(tmp_path / "strict.py"), "{model}"])}
    with pytest.raises(BudgetNotMet, match=r"a worsening of strict of at most 1\.00%") as refused:
        compress(
            tmp_path,
            folder / "tagger.onnx",
            Recipe(metric="command:strict", budget=Budget(output_change=0.01)),
            calibration=folder / "recorded.npz",
            evaluations=known,
        )
    assert refused.value.curve


def test_what_does_not_go_together_is_refused(folder: Path, tmp_path: Path) -> None:
    known = accuracy(folder, tmp_path / "calls")
    with pytest.raises(EvaluationUnknown, match="no evaluation 'wer': it knows accuracy"):
        read_task(UploadedFiles(model=folder / "tagger.onnx"), Recipe(metric="command:wer"), known)
    with pytest.raises(ModeUnavailable, match="evaluates the graph as a whole"):
        read_task(
            UploadedFiles(model=folder / "tagger.onnx"),
            Recipe(metric="command:accuracy", outputs=["scores"]),
            known,
        )
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ModeUnavailable, match="`command:accuracy` applies to ONNX graphs"):
        read_task(
            UploadedFiles(model=tmp_path / "model.safetensors"),
            Recipe(metric="command:accuracy"),
            known,
        )
    assert not (tmp_path / "calls").exists()


@pytest.mark.slow
def test_workers_child_reads_the_evaluations_of_its_operator(folder: Path, tmp_path: Path) -> None:
    """And an uploader can do no more than name one."""
    settings = StoreSettings(home=tmp_path / "home")
    log, (known,) = tmp_path / "calls", accuracy(folder, tmp_path / "calls").values()
    environment = os.environ | {
        "ISS_HOME": str(settings.home),
        "ISS_EVALUATIONS": json.dumps({"accuracy": known.model_dump(mode="json")}),
    }
    for name, kind in (("accuracy", "result"), ("sh", "problem")):
        job = tmp_path / name
        job.mkdir()
        request = CompressionRequest(
            model=stored(settings, folder / "tagger.onnx"),
            calibration=stored(settings, folder / "recorded.npz"),
            recipe=Recipe(metric=f"command:{name}", budget=Budget(output_change=0.2), minutes=0),
        )
        (job / "request.json").write_text(request.model_dump_json())
        # Its standard input stays open: when that closes, it ends.
        command = [sys.executable, "-m", "isslim.compress.worker.child", str(job)]
        with (job / "told").open("wb") as told:
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told, env=environment)
            assert child.wait(300) == 0
        child.communicate()
        last = json.loads((job / "told").read_text().splitlines()[-1])
        assert kind in last, last
    assert last["problem"]["kind"] == "evaluation-unknown"
    assert log.exists()
