"""The Penn Treebank runs on a small corpus: every configuration is sound, a run leaves its record, the report reads it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from benchmarks.ptb.published import PUBLISHED
from benchmarks.ptb.report import summary, table
from benchmarks.ptb.run import CONFIGS, METHODS, network_of, run
from compress import axes
from compress.training.plan import TrainingPlan
from tests.conftest import sentences

TINY = """
method = "{method}"
[network]
architecture = "lstm"
embedding = 12
units = [16, 12]
initial_scale = 0.3
[regularisation]
dropout = 0.0
[plan]
epochs = 3
batch = 10
steps = 10
loss = "sum_over_steps"
learning_rate = 0.5
schedule = "paper_iss"
clip = 10.0
{learner}
"""


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_configuration_builds_its_network_and_plan(path: Path) -> None:
    config = tomllib.loads(path.read_text())
    assert config["method"] in METHODS
    TrainingPlan(**config["plan"])
    declaration = network_of(config | {"network": config["network"]}, 10_000, 1).declaration()
    published = {each.name: each for each in PUBLISHED}
    if config["method"] != "group_lasso" and "published" in config:
        assert axes.mult_adds(declaration) == pytest.approx(published[config["published"]].mult_adds, rel=1e-6)


def test_runs_leave_records_that_the_report_reads(tmp_path: Path) -> None:
    corpus, output = tmp_path / "corpus", tmp_path / "output"
    corpus.mkdir()
    for seed, part in enumerate(("train", "valid", "test")):
        (corpus / f"{part}.txt").write_text(sentences(300, seed))
    for method, learner in (("dense", ""), ("group_lasso", "[learner]\nstrength = 0.2\nthreshold = 0.05\n")):
        (tmp_path / f"{method}.toml").write_text(TINY.format(method=method, learner=learner))
        record = json.loads(run(str(tmp_path / f"{method}.toml"), 1, str(corpus), output).read_text())
        assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2, 3]
        assert record["test_perplexity"] > 1
        assert record["versions"]["torch"]
    found = summary(output, "dense")
    assert [row["method"] for row in found["rows"]] == ["dense", "group_lasso"]
    assert found["baseline"] == {key: found["rows"][0][key] for key in ("test_perplexity", "mult_adds")}
    assert found["rows"][1]["mult_adds"] < found["rows"][0]["mult_adds"]  # dead units were taken out
    assert table(found).row_count == 2 + len(PUBLISHED)


def test_unknown_method_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('method = "magic"')
    with pytest.raises(ValueError, match="'magic' is not one of dense, direct, group_lasso"):
        run(str(tmp_path / "bad.toml"), 1, "pydoc", tmp_path)
