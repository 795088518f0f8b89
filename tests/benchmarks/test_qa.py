"""The question-answering benchmark on a small reader: every figure is of the variant it names."""

from __future__ import annotations

import io
import json
import lzma
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import qa
from isslim.compress.kinds.questions.metrics import score
from isslim.runtime.questions.answering import answer, encode_question, tokenize_question
from isslim.runtime.questions.model import LoadedQuestionModel
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from tests.compress.kinds.questions.models import trained_reader, world


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cached reader, and data named and packed like the real ones."""
    home = tmp_path_factory.mktemp("qa")
    folder, data = home / "benchmarks" / "bidaf", home / "data" / "squad-v1.1"
    folder.mkdir(parents=True)
    data.mkdir(parents=True)
    trained_reader(folder)
    shutil.copy(folder / "calibration.json", data / "train-v1.1-part.json")
    (data / "train-tail.json.xz").write_bytes(lzma.compress(json.dumps(world(30, 7)).encode()))
    (data / "dev-part.json.xz").write_bytes(lzma.compress((folder / "held-out.json").read_bytes()))
    return home


def told(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> Any:
    monkeypatch.setenv("ISS_HOME", str(home))
    monkeypatch.setenv("ISS_DATA", str(home / "data"))
    monkeypatch.setattr(sys, "argv", ["qa", "--json", *words])
    qa.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.long
def test_curve_has_a_point_for_each_mode_and_budget_and_the_figures_are_the_bundles(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(home, capsys, monkeypatch, "--falls", "8", "--sizes", "0.6", "--epochs", "0.5")
    curve = found["curve"]
    budgets = [("calibrate", {"f1_fall": 8.0}), ("learn", {"size_ratio": 0.6})]
    assert [(each["mode"], each["budget"]) for each in curve] == budgets
    made = [each for each in curve if "original" in each]
    assert made
    for each in made:
        if each["mode"] == "calibrate":
            assert each["original"]["f1"] - each["compressed"]["f1"] <= 8.01
    best = qa.best(curve)
    assert {name: found[name] for name in ("original", "compressed")} == {
        name: best[name] for name in ("original", "compressed")
    }
    assert (
        {"em", "f1", "lstm_weights", "median_ms"}
        == found["original"].keys()
        == found["compressed"].keys() - {"variant"}
    )
    dev = json.loads((home / "benchmarks" / "bidaf" / "held-out.json").read_text())["data"][0][
        "paragraphs"
    ]
    asked = [(paragraph, question) for paragraph in dev for question in paragraph["qas"]]
    store = BundleStore(StoreSettings(home=home / "benchmarks" / "bidaf-home"))
    for point in made:
        assert point["questions"] == len(asked)
        ((_, limit),) = point["budget"].items()
        name = f"bidaf-{point['mode']}-{limit:g}"
        (bundle_id,) = [
            bundle_id for bundle_id, manifest in store.manifests() if manifest.name == name
        ]
        model = LoadedQuestionModel(store.open(bundle_id))
        assert f"({len(asked)})" in model.manifest.provenance.held_out
        for place, variant in (
            ("original", "original"),
            ("compressed", point["compressed"]["variant"]),
        ):
            session = model.session(variant)
            answers = (
                answer(
                    session,
                    encode_question(
                        model.codec, tokenize_question(question["question"], paragraph["context"])
                    ),
                )
                .answers[0]
                .text
                for paragraph, question in asked
            )
            golden = [[each["text"] for each in question["answers"]] for _, question in asked]
            scores = score(zip(answers, golden, strict=True))
            assert (point[place]["em"], point[place]["f1"]) == (
                pytest.approx(scores.em, abs=0.01),
                pytest.approx(scores.f1, abs=0.01),
            )
            record = model.record(variant)
            expected = sum(part.parameters for part in record.parts if part.directions)
            assert point[place]["lstm_weights"] == expected > 0
    # Found again, not made again; and judged anew on a part.
    again = told(home, capsys, monkeypatch, "--falls", "8", "--sizes", "--questions", "10")
    assert len(store.manifests()) == len(made)
    assert again["questions"] == 10


def test_table_shows_each_budget_beside_what_was_found_within_it() -> None:
    original = {"em": 30.0, "f1": 40.0, "lstm_weights": 1000, "median_ms": 10.0}
    small = {
        "em": 29.0,
        "f1": 39.5,
        "lstm_weights": 400,
        "median_ms": 4.0,
        "variant": "compressed-int8",
    }
    curve: list[dict[str, Any]] = [
        {"budget": {"f1_fall": 0.1}, "mode": "calibrate", "refused": "no model meets the budget"},
        {
            "budget": {"size_ratio": 0.3},
            "mode": "learn",
            "original": original,
            "compressed": small,
            "questions": 5397,
        },
    ]
    shown = io.StringIO()
    Console(file=shown, width=140).print(qa.table(curve))
    lines = shown.getvalue().splitlines()
    for words in (
        ("original", "30.00", "40.00", "1,000", "1.00x", "10.00"),
        ("calibrate", "nothing within it", "f1_fall 0.1"),
        (
            "learn",
            "compressed-int8",
            "size_ratio 0.3",
            "29.00",
            "39.50",
            "+0.50",
            "400",
            "2.50x",
            "4.00",
        ),
    ):
        assert any(all(word in line for word in words) for line in lines), words


def test_the_first_is_the_fastest_of_those_that_lose_little() -> None:
    def point(lost: float, milliseconds: float) -> dict[str, Any]:
        original = {"f1": 60.0, "median_ms": 10.0}
        return {"original": original, "compressed": {"f1": 60.0 - lost, "median_ms": milliseconds}}

    mild, good, far = point(0.5, 5.0), point(0.9, 3.0), point(2.0, 1.0)
    assert qa.best([{"refused": "none"}, mild, far, good]) is good
    assert qa.best([far, {"refused": "none"}]) is far
    assert qa.best([{"refused": "none"}]) == {}
