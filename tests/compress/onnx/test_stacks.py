"""Random graphs: a cut one equals its original with the removed units held at zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from isslim.compress.onnx.network import GraphNetwork
from tests.compress.onnx.proving import assert_cut_equals_masked
from tests.compress.onnx.stacks import Stack


def check(data: st.DataObject, seed: int) -> None:
    """Draws a graph, cuts it at random and compares."""

    def choose(name: str, options: Sequence[object]) -> object:
        return data.draw(st.sampled_from(options), label=name)

    stack = Stack(choose, seed)
    network = assert_cut_equals_masked(stack.model, stack.feeds, seed)
    note(str(network.report()))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data(), seed=st.integers(0, 2**16))
def test_a_cut_graph_equals_its_original_with_the_units_held_at_zero(
    data: st.DataObject, seed: int
) -> None:
    check(data, seed)


@pytest.mark.long
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), seed=st.integers(0, 2**16))
def test_many_cut_graphs_equal_their_originals_with_the_units_held_at_zero(
    data: st.DataObject, seed: int
) -> None:
    check(data, seed)


def test_nearly_all_axes_of_random_graphs_may_shrink_and_others_say_why_not() -> None:
    free, left = 0, []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        stack = Stack(lambda _, options, rng=rng: options[rng.integers(len(options))], seed)
        for axis in GraphNetwork.from_model(stack.model).report():
            free += not axis.reasons
            left += axis.reasons[:1]
    assert free > 10 * len(left)
    known = (
        "normalises over the units",
        "that are not zero when masked",
        "whose parts lie differently",
        "as a state that the caller carries",
        "shares its size with",
    )
    assert all(any(text in reason for text in known) for reason in left), left
