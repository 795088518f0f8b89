"""Lines of text in pictures, and the reader of the package from weights of its layout."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.published import legere
from benchmarks.published.legere import LineReader
from benchmarks.published.texts import english_lines
from benchmarks.speech import Spoken, speech
from isslim.runtime.graphs.recorded_inputs import GraphSession
from tests.benchmarks.published.packages import forget, package

CHARSET = "".join(sorted(set(string.ascii_letters + string.digits + string.punctuation + " ")))


def never(number: int) -> Spoken:
    return speech(1.0, number)


def weights() -> dict[str, Tensor]:
    """Of the package's layout, narrower."""
    torch.manual_seed(1)
    sizes, width = {"stem.0.weight": (4, 1, 3, 3)}, 4
    for number, wider in enumerate((5, 6, 6, 7, 7, 8)):
        sizes[f"blocks.{number}.pointwise.weight"] = (wider, width, 1, 1)
        width = wider
    sizes |= {"rnn.weight_hh_l0": (18, 6), "head.bias": (len(CHARSET) + 1,)}
    module = LineReader({name: torch.zeros(size) for name, size in sizes.items()})
    for name, array in module.state_dict().items():
        if name.endswith("running_var"):
            array.uniform_(0.5, 2.0)
    return module.state_dict()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "model.pt"
    torch.save({"model": weights(), "charset": CHARSET, "step": 1}, path)
    package(tmp_path / "site", "legere", {"legere/data/model.pt": path.read_bytes()})
    monkeypatch.syspath_prepend(tmp_path / "site")
    forget(legere)
    yield tmp_path
    forget(legere)


def test_graph_computes_what_the_network_does_and_answers_every_fourth_column(
    installed: Path,
) -> None:
    model = legere.MODELS[0]
    graph = GraphSession(model.graph(installed))
    module = LineReader(weights())
    module.load_state_dict(weights())
    images = np.random.default_rng(0).normal(size=(1, 1, 32, 44)).astype(np.float32)
    with torch.no_grad():
        wanted = module.eval()(torch.from_numpy(images)).numpy()
    found = graph.run({"images": images})["scores"]
    assert found.shape == (1, 11, len(CHARSET) + 1)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_targets_are_the_characters_of_the_line(installed: Path) -> None:
    (runs,) = legere.lines(never, range(2, 3))
    known = set(english_lines())
    for run in runs:
        assert "".join(CHARSET[each - 1] for each in run["target:scores"]) in known
        assert run["images"].shape[:3] == (1, 1, 32)
        assert run["images"].shape[3] % 4 == 0
        # Dark on light, between -1 and 1, and room for every character and a blank.
        assert -1 <= run["images"].min() < -0.2 < 0.8 < run["images"].max() <= 1
        assert run["images"].shape[3] // 4 > len(run["target:scores"])


@pytest.mark.slow
def test_score_of_a_reader_that_learned_nothing_is_bad(installed: Path) -> None:
    model = legere.MODELS[0]
    assert model.task is not None
    assert model.task.score(GraphSession(model.graph(installed)), never) > 80
