"""Random graphs: a cut one equals its original with the removed units held at zero."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.compress.graphs.proving import assert_cut_equals_silenced
from tests.compress.graphs.stacks import Stack


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data(), seed=st.integers(0, 2**16))
def test_a_cut_graph_equals_its_original_with_the_units_held_at_zero(data: st.DataObject, seed: int) -> None:
    def choose(name: str, options: Sequence[object]) -> object:
        return data.draw(st.sampled_from(options), label=name)

    stack = Stack(choose, seed)
    network = assert_cut_equals_silenced(stack.model, stack.feeds, seed)
    note(str(network.report()))
