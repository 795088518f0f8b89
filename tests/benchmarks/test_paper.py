"""The paper's experiment at tiny size: from a corpus to record, report and figures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.paper import small
from benchmarks.paper.figures import EDGES, FIGURES, alternative_texts, draw, histogram
from benchmarks.paper.report import markdown
from benchmarks.paper.small import as_text, carry_out, parser_of, series
from isslim.compress.kinds.language.ingest.layouts import read_model
from tests.conftest import sentences


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-corpus")
    for seed, part in enumerate(("train", "valid", "test")):
        (folder / f"ptb.{part}.txt").write_text(sentences(4000 if part == "train" else 60, seed))
    return folder


def options(corpus: Path, *more: str) -> Any:
    tiny = ["--units", "12", "--epochs", "5", "--dropout", "0"]
    tiny += ["--strengths", "0.1", "--tuned-strengths", "0.1"]
    return parser_of().parse_args(["--corpus", str(corpus), "--threads", "1", *tiny, *more])


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    carry_out(options(corpus), out)
    return out


@pytest.mark.slow
def test_the_whole_experiment_leaves_record_report_and_figures(whole: Path, corpus: Path) -> None:
    record = json.loads((whole / "record.json").read_text())
    names = [run["name"] for run in record["runs"]]
    assert names == ["baseline", "continued", "scratch-0.1", "tuned-0.1"]
    baseline, continued, scratch, tuned = record["runs"]
    assert continued["units"] == [12, 12]
    assert baseline["units"] == [12, 12]
    for run in (scratch, tuned):
        assert sum(run["units"]) < 24
        assert run["mult_adds"] < baseline["mult_adds"]
        last = run["epochs"][-1]
        gone = {axis: last["units"][axis] - last["removed"][axis] for axis in run["norms"]}
        assert list(gone.values()) == run["units"]
        network = read_model(whole / run["name"] / "model.safetensors", None).network
        assert [network.declaration().axes[axis] for axis in run["norms"]] == run["units"]
    assert all(len(run["epochs"]) == 5 and run["seconds"] > 0 for run in record["runs"])
    assert str(corpus) not in json.dumps(record)
    page = (whole / "report.md").read_text()
    assert "| baseline |  | 12, 12 |" in page
    ratio = tuned["test_perplexity"] / continued["test_perplexity"]
    (line,) = (each for each in page.splitlines() if each.startswith("| from the baseline | 0.1 |"))
    assert f" | {ratio:.3f} | " in line
    assert " | 5 + 5 | " in line
    assert "| ISS (373, 315) | 373, 315 | 78.65 |" in page
    for picture, text in re.findall(r"!\[(.+?)\]\((\w+\.png)\)", page):
        assert (whole / text).stat().st_size > 1000
        assert picture.endswith(".")
    assert len(re.findall(r"\.png\)", page)) == len(FIGURES)


@pytest.mark.long
def test_a_stopped_experiment_continues_to_the_same_record(
    whole: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []

    class Stopping:
        """A standard error that is cut off within the second run."""

        def write(self, text: str) -> int:
            lines.append(text)
            if text.startswith("epoch 2") and any("run 2" in line for line in lines):
                raise KeyboardInterrupt
            return len(text)

        def flush(self) -> None: ...

        def isatty(self) -> bool:
            return False

    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", Stopping())
        with pytest.raises(KeyboardInterrupt):
            carry_out(options(corpus), tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert "Not run yet: continued, scratch-0.1, tuned-0.1." in page
    carry_out(options(corpus), tmp_path)
    one, other = (json.loads((folder / "record.json").read_text()) for folder in (whole, tmp_path))
    assert untimed(one) == untimed(other)


def untimed(record: Any) -> Any:
    """A record without seconds."""
    if isinstance(record, dict):
        return {key: untimed(value) for key, value in record.items() if key != "seconds"}
    return [untimed(each) for each in record] if isinstance(record, list) else record


@pytest.mark.long
def test_finished_runs_are_not_repeated(
    whole: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(words: list[str]) -> None:
        raise AssertionError(words)

    before = (whole / "record.json").read_text()
    monkeypatch.setattr(small, "with_stdout_on_stderr", fails)
    carry_out(options(corpus), whole)
    assert (whole / "record.json").read_text() == before


@pytest.mark.slow
def test_a_folder_of_other_options_is_refused(whole: Path, corpus: Path) -> None:
    with pytest.raises(FileExistsError, match=r"units: \[12\] there, \[9\] now.*--out"):
        carry_out(options(corpus, "--units", "9"), whole)


@pytest.mark.slow
def test_what_was_cut_short_is_marked(corpus: Path, tmp_path: Path) -> None:
    record = carry_out(options(corpus, "--tokens", "1000", "--minutes", "0.002"), tmp_path)
    assert record["corpus"]["tokens"]["train"] == 1000
    assert record["corpus"]["left_out"] > 0
    page = markdown(record)
    assert f"cut short: {record['corpus']['left_out']:,} left out" in page
    for run in record["runs"]:
        assert (run["length"]["truncated"] is None) == (run["length"]["epochs"] >= 5)
    run = record["runs"][0] | {
        "length": {"epochs": 1.5, "truncated": "ended by the clock: 1.5 of 3"}
    }
    page = markdown(record | {"runs": [run, *record["runs"][1:]]})
    assert "| ended by the clock: 1.5 of 3 |" in page


@pytest.mark.slow
def test_the_report_says_what_to_do_where_a_strength_is_no_good(whole: Path) -> None:
    record = json.loads((whole / "record.json").read_text())
    *controls, scratch, tuned = record["runs"]
    record["runs"] = [*controls, scratch | {"units": [12, 12]}, tuned | {"units": [1, 1]}]
    page = markdown(record)
    assert "Nothing was removed: random weights, strength 0.1. A larger strength" in page
    assert "Hardly a unit is left: from the baseline, strength 0.1. A smaller strength." in page


@pytest.mark.parametrize("strengths", [[], [0.1, 0.1], [0.0], [-1.0, 1.0]])
def test_strengths_that_are_none_are_refused(strengths: list[float]) -> None:
    with pytest.raises(ValueError, match="distinct numbers above zero are expected"):
        series(strengths, [0.1])
    with pytest.raises(ValueError, match="distinct numbers above zero are expected"):
        series([0.1], strengths)


def test_histogram_counts_exact_zeros_apart_and_the_rest_by_bins() -> None:
    found = histogram([0.0, 0.0, 1e-9, 0.5, 1.01, 1.02, 1e5])
    assert found["zero"] == 2
    filled = {place: count for place, count in enumerate(found["counts"]) if count}
    assert filled == {0: 1, np.searchsorted(EDGES, 0.5) - 1: 1, 24: 2, 35: 1}


@pytest.mark.slow
def test_figures_and_texts_follow_from_the_record(whole: Path, tmp_path: Path) -> None:
    record = json.loads((whole / "record.json").read_text())
    assert json.loads(as_text(record)) == record
    draw(record, tmp_path, ("svg",))
    for name in FIGURES:
        assert (tmp_path / f"{name}.svg").read_bytes() == (whole / f"{name}.svg").read_bytes()
    texts = alternative_texts(record)
    assert f"baseline 24 units, {record['runs'][0]['test_perplexity']:.1f}" in texts["curve"]
    removed = 24 - sum(record["runs"][2]["units"])
    assert f"random weights, strength 0.1 {removed} of 24" in texts["norms"]
