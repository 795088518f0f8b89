"""Variations stay near the recordings, and change what may be changed only."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.kinds.graphs.distilling.input_kinds import FIXED, InputKind
from isslim.compress.kinds.graphs.distilling.varying import LEFT_ALONE, varied

RNG = np.random.default_rng(1)
SOUND = InputKind("signal", True, -1.0, 1.0, 0.3, steps=1)
LOGARITHM = InputKind("signal", False, -12.0, 3.0, 1.2, steps=1)
IDS = InputKind("ids", known=(2, 3, 5, 7))


def sounds(count: int = 1, steps: int = 40) -> list[dict[str, np.ndarray]]:
    return [
        {"x": RNG.uniform(-1, 1, (1, steps, 3)).astype(np.float32),
         "ids": RNG.choice([2, 3, 5, 7], (1, steps)),
         "mask": np.ones((1, steps), np.float32)}
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [SOUND, LOGARITHM])
def test_variations_keep_types_shapes_and_range_and_what_is_fixed(kind: InputKind) -> None:
    runs, others = sounds(3), sounds(3)
    before = [{name: array.copy() for name, array in run.items()} for run in runs]
    kinds, changed = {"x": kind, "ids": IDS, "mask": FIXED}, 0
    for seed in range(40):
        found = varied(runs, others, kinds, np.random.default_rng(seed))
        for one, other in zip(found, runs, strict=True):
            assert one.keys() == other.keys()
            for name, array in one.items():
                assert (array.shape, array.dtype) == (other[name].shape, other[name].dtype)
            assert kind.lowest <= one["x"].min() <= one["x"].max() <= kind.highest
            assert set(np.unique(one["ids"])) <= set(IDS.known)
            assert np.mean(one["ids"] != other["ids"]) < 0.3
            np.testing.assert_array_equal(one["mask"], other["mask"])
        changed += any(
            (one["x"] != other["x"]).any() for one, other in zip(found, runs, strict=True)
        )
    assert changed >= 40 * (1 - LEFT_ALONE) * 0.6
    for run, same in zip(runs, before, strict=True):
        for name, array in run.items():
            np.testing.assert_array_equal(array, same[name])


def test_the_same_choices_give_the_same_variation() -> None:
    runs, others, kinds = sounds(), sounds(), {"x": SOUND}
    one, other = (varied(runs, others, kinds, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one[0]["x"], other[0]["x"])


def test_runs_that_follow_each_other_are_neither_shifted_nor_hidden_and_of_one_level() -> None:
    runs = sounds(4)
    for seed in range(40):
        found = varied(runs, [], {"x": SOUND}, np.random.default_rng(seed))
        # Without another recording to mix in: one factor for all runs, and noise.
        factors = [
            float((one["x"] * other["x"]).sum() / np.square(other["x"]).sum())
            for one, other in zip(found, runs, strict=True)
        ]
        assert max(factors) - min(factors) < 0.2


def test_a_single_run_may_begin_elsewhere_unless_a_mask_says_where_it_ends() -> None:
    run = {"x": np.arange(40, dtype=np.float32).reshape(1, 40, 1) / 40, "mask": np.ones((1, 40))}
    rising = InputKind("signal", True, 0.0, 1.0, 0.3, steps=1)

    def begins_elsewhere(kinds: dict[str, InputKind]) -> bool:
        found = [
            varied([run], [], kinds, np.random.default_rng(seed))[0]["x"][0, :, 0]
            for seed in range(300)
        ]
        return any(
            each[0] > 0.1 and each[-1] < each[0] and len(np.unique(each)) == 40 for each in found
        )

    assert begins_elsewhere({"x": rising})
    assert not begins_elsewhere({"x": rising, "mask": FIXED})


def test_another_recording_of_another_length_is_not_mixed_in() -> None:
    runs, short = sounds(steps=40), sounds(steps=30)
    for seed in range(20):
        (found,) = varied(runs, short, {"x": SOUND}, np.random.default_rng(seed))
        assert found["x"].shape == (1, 40, 3)
