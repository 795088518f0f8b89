"""Targets beside the arguments of a module's calls, and beside the inputs of a graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import isslim
from examples.tagger import batches, trained
from isslim.compress.errors import CompressError
from isslim.compress.library.calls import without_targets
from isslim.types.recipe import Budget
from tests.tagger import TAGS, recorded, tagger_graph


@pytest.mark.slow
def test_a_module_keeps_a_budget_of_accuracy_on_the_callers_tags() -> None:
    tagger = trained().eval()
    labelled = [{"sentences": x, "target:output": y} for x, y in batches(60)]
    with isslim.compress(tagger, labelled, metric="accuracy", budget=0.05) as small:
        known = small.variants["compressed"]
        assert known.loss <= 0.05
        assert known.parameters < small.variants["original"].parameters
        held = batches(60)[48:]
        right = torch.cat([(tagger(x).argmax(-1) == y).flatten() for x, y in held])
        expected = float(right.double().mean())
        assert small.variants["original"].metrics["accuracy"] == pytest.approx(expected, abs=1e-9)
        assert known.estimate is not None
        assert known.estimate.count == len(right)
        assert "accuracy" in small.summary()


@pytest.mark.slow
def test_a_graph_takes_targets_in_mappings(tmp_path: Path) -> None:
    runs = [run | {"target:scores": np.cumsum(run["ids"] < 8, 0) % TAGS} for run in recorded(40)]
    budget = Budget(size_ratio=0.5)
    with isslim.compress(tagger_graph(tmp_path), runs, metric="f1_macro", budget=budget) as small:
        assert 0 < small.variants["compressed"].metrics["f1_macro"] < 1
    with pytest.raises(CompressError, match="`f1_macro` compares outputs with targets, and none"):
        isslim.compress(tagger_graph(tmp_path), recorded(40), metric="f1_macro", budget=budget)


def test_what_is_no_mapping_has_no_targets() -> None:
    x, y = torch.zeros(2), torch.ones(2, dtype=torch.int64)
    calls, targets = without_targets([(x,), x, {"a": x, "target:output": y}])
    assert calls[0] == (x,)
    assert calls[1] is x
    assert calls[2] == {"a": x}
    assert targets[:2] == [{}, {}]
    np.testing.assert_array_equal(targets[2]["target:output"], y.numpy())
