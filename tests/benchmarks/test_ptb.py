"""The Penn Treebank runs on a small corpus: configurations, records, and the report on them."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ptb.published import PUBLISHED
from benchmarks.ptb.report import RECORDS, main, records, summary, table, verdicts
from benchmarks.ptb.run import CONFIGS, METHODS, network_of, run
from benchmarks.ptb.start import Start, cut, trained_network
from isslim.compress.commands.corpus_loading import read_corpus
from isslim.compress.layers.regularisation import Regularisation
from isslim.compress.pruning import axes
from isslim.compress.training.plan import TrainingPlan
from tests.conftest import sentences

SHORT = """
[regularisation]
dropout = 0.0
[plan]
epochs = 3
batch = 10
steps = 10
"""
TINY = """
method = "{method}"
[network]
architecture = "lstm"
embedding = 12
units = [16, 12]
initial_scale = 0.3
{short}loss = "sum_over_steps"
learning_rate = 0.5
schedule = "paper_iss"
clip = 10.0
{learner}
"""


def corpus_in(folder: Path) -> str:
    corpus = folder / "corpus"
    corpus.mkdir()
    for seed, part in enumerate(("train", "valid", "test")):
        (corpus / f"{part}.txt").write_text(sentences(300, seed))
    return str(corpus)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_configuration_builds_its_network_and_plan(path: Path) -> None:
    config = tomllib.loads(path.read_text())
    assert config["method"] in METHODS
    TrainingPlan(**config["plan"])
    if config["method"] == "cut":
        start = Start(**config["start"])
        assert (CONFIGS / f"{start.of}.toml").exists()
        return
    declaration = network_of(config | {"network": config["network"]}, 10_000, 1).declaration()
    published = {each.name: each for each in PUBLISHED}
    if config["method"] != "group_lasso" and "published" in config:
        assert axes.mult_adds(declaration) == pytest.approx(
            published[config["published"]].mult_adds, rel=1e-6
        )


def test_runs_leave_records_that_the_report_reads(tmp_path: Path) -> None:
    corpus, output = corpus_in(tmp_path), tmp_path / "output"
    for method, learner in (
        ("dense", ""),
        ("group_lasso", "[learner]\nstrength = 0.2\nthreshold = 0.05\n"),
    ):
        (tmp_path / f"{method}.toml").write_text(
            TINY.format(short=SHORT, method=method, learner=learner)
        )
        record = json.loads(run(str(tmp_path / f"{method}.toml"), 1, corpus, output).read_text())
        assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2, 3]
        assert record["test_perplexity"] > 1
        assert record["versions"]["torch"]
    found = summary(records(output, tmp_path / "none"), "dense")
    assert [row["method"] for row in found["rows"]] == ["dense", "group_lasso"]
    assert found["baseline"] == {
        key: found["rows"][0][key] for key in ("test_perplexity", "mult_adds")
    }
    assert (
        found["rows"][1]["mult_adds"] < found["rows"][0]["mult_adds"]
    )  # dead units were taken out
    assert table(found).row_count == 2 + len(PUBLISHED)


def test_the_kept_records_make_a_report_with_plots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = sorted(RECORDS.glob("*.json"))
    made = tmp_path / "output" / kept[0].stem / "record.json"
    made.parent.mkdir(parents=True)
    made.write_bytes(kept[0].read_bytes())
    assert records(tmp_path / "output", RECORDS) == [
        made,
        *kept[1:],
    ]  # what was made here stands for what is kept
    monkeypatch.setattr(
        "sys.argv",
        ["report", "--json", "--output", str(tmp_path / "output"), "--plots", str(tmp_path)],
    )
    main()
    found = json.loads(capsys.readouterr().out)
    assert len(found["rows"]) == len(kept)
    assert found["baseline"]["mult_adds"] == 13_260_000
    for name in ("tradeoff.svg", "curves.svg"):
        assert "medium-cut" in (tmp_path / name).read_text()


def test_the_report_says_which_way_wins_at_a_size() -> None:
    def row(
        name: str, perplexity: float | None, seed: int = 1, units: int = 5
    ) -> dict[str, object]:
        return {
            "name": name,
            "seed": seed,
            "units": [units],
            "mult_adds": 7000,
            "test_perplexity": perplexity,
            "length": {"truncated": None},
        }

    rows = [
        row("ours", 82.0),
        row("ours", 82.4, 2),
        row("control", 81.0),
        row("worse", None),
        row("alone", 70.0, units=9),
    ]
    (line,) = verdicts({"rows": rows})
    assert line == (
        "Units 5, 7,000 multiply-adds: control 81.00, "
        "ours 82.20 (2 seeds, 82.00 to 82.40): control wins."
    )
    rows[2] = row("control", 82.1)
    rows[2]["length"] = {"truncated": "ended by the clock: 1 of 2 epochs"}
    assert "control 82.10 (cut short), ours 82.20 (2" in verdicts({"rows": rows})[0]
    assert verdicts({"rows": rows})[0].endswith(
        "control and ours are within the spread of the seeds."
    )


def test_runs_that_were_cut_short_are_marked(tmp_path: Path) -> None:
    corpus, output = corpus_in(tmp_path), tmp_path / "output"
    (tmp_path / "dense.toml").write_text(TINY.format(short=SHORT, method="dense", learner=""))
    run(str(tmp_path / "dense.toml"), 1, corpus, output, {"epochs": 1})
    (row,) = summary(records(output, tmp_path / "none"), "dense")["rows"]
    assert row["length"]["truncated"] == "shortened: 1 of 3 epochs"
    printed = table({"rows": [row], "baseline": None})
    assert "measured, shortened: 1 of 3 epochs" in list(printed.columns[-1].cells)
    # A kept record of before records said it: ended by the clock.
    rows = {
        each["name"]: each for each in summary(sorted(RECORDS.glob("*.json")), "medium")["rows"]
    }
    marked = {name for name, each in rows.items() if each["length"]["truncated"] is not None}
    assert marked == {"medium-direct"}
    assert rows["medium-direct"]["length"]["truncated"] == "ended by the clock: 15.7 of 20 epochs"
    assert rows["medium"]["seconds"] > 60


CUT = """
method = "cut"
[start]
of = "dense"
cut = "{cut}"
mult_adds = 0.6
teacher = {teacher}
{short}optimizer = "adamw"
learning_rate = 0.003
clip = 1.0
"""


def test_a_trained_run_is_cut_and_trained_on(tmp_path: Path) -> None:
    corpus, output = corpus_in(tmp_path), tmp_path / "output"
    (tmp_path / "early.toml").write_text(CUT.format(short=SHORT, cut="calibrated", teacher="true"))
    with pytest.raises(FileNotFoundError, match=r"first: python -m benchmarks\.ptb\.run dense"):
        run(str(tmp_path / "early.toml"), 1, corpus, output)
    (tmp_path / "dense.toml").write_text(TINY.format(short=SHORT, method="dense", learner=""))
    whole = json.loads(run(str(tmp_path / "dense.toml"), 1, corpus, output).read_text())
    records = {}
    for way, teacher in (("calibrated", "true"), ("magnitude", "false"), ("scratch", "false")):
        (tmp_path / f"{way}.toml").write_text(CUT.format(short=SHORT, cut=way, teacher=teacher))
        records[way] = json.loads(run(str(tmp_path / f"{way}.toml"), 1, corpus, output).read_text())
    assert 0.4 * whole["mult_adds"] < records["calibrated"]["mult_adds"] <= 0.6 * whole["mult_adds"]
    for record in records.values():  # the same sizes for all
        assert record["sizes"] == records["calibrated"]["sizes"]
    assert records["calibrated"]["test_perplexity"] < records["scratch"]["test_perplexity"]


def test_magnitude_keeps_the_components_of_largest_norm(tmp_path: Path) -> None:
    corpus, output = corpus_in(tmp_path), tmp_path / "output"
    (tmp_path / "dense.toml").write_text(TINY.format(short=SHORT, method="dense", learner=""))
    run(str(tmp_path / "dense.toml"), 1, corpus, output)
    text = read_corpus(corpus, 10_000).train
    whole = trained_network(output, "dense", 1)
    small = cut(whole, Start("dense", "magnitude", 0.6), output, text, Regularisation(), 1)
    arrays, declaration = whole.arrays(), whole.declaration()
    biasless = {name: array for name, array in arrays.items() if array.ndim > 1}
    norms = axes.group_squared_norms(
        biasless,
        replace(declaration, dimensions={n: declaration.dimensions[n] for n in biasless}),
        "embedding",
    )
    kept = np.sort(np.argsort(-norms)[: small.declaration().axes["embedding"]])
    np.testing.assert_array_equal(
        small.arrays()["embedding.weight"], arrays["embedding.weight"][:, kept]
    )


def test_unknown_method_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('method = "magic"')
    with pytest.raises(ValueError, match="'magic' is not one of dense, direct, group_lasso, cut"):
        run(str(tmp_path / "bad.toml"), 1, "pydoc", tmp_path)
