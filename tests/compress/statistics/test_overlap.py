"""No text evaluates what was fitted to it: shared parts are left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from isslim.compress.errors import TextUnusable
from isslim.compress.kinds.registry import UploadedFiles, read_task
from isslim.compress.statistics.overlap import WINDOW, remove_overlap, without
from isslim.types.recipe import Recipe
from tests.conftest import Trained


def drawn(count: int, seed: int) -> torch.Tensor:
    return torch.randint(50, (count,), generator=torch.Generator().manual_seed(seed))


def test_shared_stretches_are_found_wherever_they_lie() -> None:
    one, other = drawn(1000, 0), drawn(700, 1)
    shared = drawn(3 * WINDOW, 2)
    text = torch.cat([one[:333], shared, one[333:]])
    judged = torch.cat([other[:217], shared, other[217:]])
    left = without(text, judged)
    # Windows of `judged` touch each other from its beginning: of a stretch up to a window is missed
    # at either end.
    assert len(one) <= len(left) <= len(one) + 2 * WINDOW
    assert without(one, other) is one
    assert not len(without(text, text[: len(text) // WINDOW * WINDOW])) > WINDOW


def test_what_is_fitted_gives_way_and_where_it_is_too_short_what_judges() -> None:
    long, short = drawn(2000, 0), drawn(320, 1)
    (left,), judged, told, _ = remove_overlap([torch.cat([long, short])], short)
    assert (left.tolist(), judged.tolist()) == (long.tolist(), short.tolist())
    assert told == ", without the 320 tokens that also occur in the held-out text"
    (fitted,), judged, _, told = remove_overlap([short], torch.cat([short, long]))
    assert (fitted.tolist(), judged.tolist()) == (short.tolist(), long.tolist())
    assert told == ", without the 320 tokens that also occur in the calibration or training text"


def test_one_text_sent_twice_is_divided(trained: Trained, tmp_path: Path) -> None:
    text = trained.calibration.read_text()
    (tmp_path / "again").write_text(text)
    inputs = UploadedFiles(
        model=trained.model,
        vocabulary=trained.vocabulary,
        calibration=trained.calibration,
        held_out=tmp_path / "again",
    )
    texts = read_task(inputs, Recipe()).texts
    assert texts.held_out_origin.startswith(
        "the last fifth of the uploaded text, not calibrated or trained on (what was sent as "
        "held-out text is the same text)"
    )
    assert abs(4 * len(texts.held_out) - len(texts.training)) < 5
    (tmp_path / "again").write_text(text[:900])
    short = UploadedFiles(
        model=trained.model,
        vocabulary=trained.vocabulary,
        calibration=tmp_path / "again",
        held_out=tmp_path / "again",
    )
    with pytest.raises(
        TextUnusable,
        match=r"at least 100 are needed\. What was sent as held-out text is the same text",
    ):
        read_task(short, Recipe())


def test_a_held_out_text_that_only_repeats_is_said_to(trained: Trained, tmp_path: Path) -> None:
    words = trained.calibration.read_text().split()[:20]
    (tmp_path / "repeated").write_text(" ".join(words * 50))
    inputs = UploadedFiles(
        model=trained.model, vocabulary=trained.vocabulary, calibration=tmp_path / "repeated"
    )
    texts = read_task(inputs, Recipe()).texts
    assert "which repeats the calibration or training text" in texts.held_out_origin
    assert texts.caveat.startswith("the held-out text repeats the calibration or training text")
