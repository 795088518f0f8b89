"""Recorded runs by size, and runs repeated or cut along dimensions of known meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphInterface, NamedArrays
from isslim.runtime.graphs.shapes import run_of_shape, runs_to_time, sizes
from isslim.runtime.shape import Shape


def ports(**inputs: list[int | str | None]) -> GraphInterface:
    found = GraphInterface()
    found.inputs = {name: ("tensor(float)", shape) for name, shape in inputs.items()}
    return found


def run(steps: int, batch: int) -> NamedArrays:
    array: np.ndarray[Any, Any] = np.arange(steps * batch * 2, dtype=np.float32).reshape(
        steps, batch, 2
    )
    return {
        "x": array,
        "lengths": np.full(batch, steps),
        "h": np.arange(batch, dtype=np.float32)[None, :, None],
    }


NAMED = ports(x=["seq_len", "batch_size", 2], lengths=["batch_size"], h=[1, "batch_size", 1])


def test_median_smallest_and_largest_are_chosen_by_their_entries() -> None:
    runs = [run(steps, 2) for steps in (9, 3, 5, 7, 1)]
    found = runs_to_time(runs)
    assert {which: len(each["x"]) for which, each in found.items()} == {
        "median": 5,
        "smallest": 1,
        "largest": 9,
    }
    assert list(runs_to_time([run(4, 1), run(4, 1)])) == ["median"]
    # What a bundle keeps of them is chosen again in the same way.
    assert [len(each["x"]) for each in runs_to_time(list(found.values())).values()] == [5, 1, 9]
    made, told = run_of_shape(NAMED, runs, Shape(which="largest"))
    assert made is runs[0]
    assert told == "the largest recorded run (x: 9 x 2 x 2, lengths: 2, h: 1 x 2 x 1)"
    assert run_of_shape(NAMED, runs, Shape(), random=True)[1].startswith("the median random run (")
    with pytest.raises(InputsRefused, match="no run of another size"):
        run_of_shape(NAMED, runs[:1], Shape(which="smallest"))


def test_runs_are_repeated_and_cut_along_the_dimensions_that_count() -> None:
    recorded = run(4, 3)
    recorded["lengths"] = np.array([4, 2, 3])
    made, told = run_of_shape(NAMED, [recorded], Shape(6, 5))
    assert (
        told == "the median recorded run, repeated or cut (x: 6 x 5 x 2, lengths: 5, h: 1 x 5 x 1)"
    )
    assert sizes(NAMED, made) == {"steps": 6, "batch": 5}
    for step in range(6):
        for sequence in range(5):
            assert (made["x"][step, sequence] == recorded["x"][step % 4, sequence % 3]).all()
    assert made["lengths"].tolist() == [6, 2, 3, 6, 2]
    assert made["h"][0, :, 0].tolist() == [0, 1, 2, 0, 1]
    short, _ = run_of_shape(NAMED, [recorded], Shape(2))
    assert short["x"].shape == (2, 3, 2)
    assert short["lengths"].tolist() == [2, 2, 2]
    assert recorded["x"].shape == (4, 3, 2)


@pytest.mark.parametrize(
    ("given", "asked", "words"),
    [
        (
            ports(x=["unk__1", "unk__2", 2], lengths=["unk__2"], h=[1, 1, 1]),
            Shape(5),
            "named as one that counts steps",
        ),
        (
            ports(x=["unk__1", None, 2], lengths=[None], h=[1, 1, 1]),
            Shape(batch=5),
            "named as one that counts batch",
        ),
        (
            ports(x=["time", "N", 2], lengths=["frames"], h=[1, "N", 1]),
            Shape(5),
            "of different sizes: 4 ('time' of 'x'), 3",
        ),
    ],
)
def test_what_names_do_not_tell_is_not_guessed(
    given: GraphInterface, asked: Shape, words: str
) -> None:
    with pytest.raises(InputsRefused) as refused:
        run_of_shape(given, [run(4, 3)], asked)
    assert words in refused.value.issues[0]
    assert "to time " in refused.value.issues[0]
