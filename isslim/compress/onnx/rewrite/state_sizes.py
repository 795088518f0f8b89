"""Which states of the caller may shrink with their layers, where that is requested.

Those that go from a graph's input straight into a layer and from the layer straight to an output,
all of the layer's states alike: the output of one call must fit the input of the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import chain

from isslim.compress.onnx.model.recurrent import C0, H0, view
from isslim.compress.onnx.model.split_model import given, nodes
from isslim.compress.onnx.trace.edits import Edit, Restore, Select, key
from isslim.compress.onnx.trace.facts import AxisFacts


def exposable(trace: AxisFacts, placed: Mapping[str, int], sizes: Mapping[str, int]) -> set[Edit]:
    """The edits that are superfluous when a state has the size of its layer.

    Args:
        trace: the graph at full size.
        placed: size of every axis in the graph.
        sizes: its components; where there is room for more, the state keeps its size.

    Returns:
        Both edits of every such state: the one behind the input and the one before the output.
    """
    top = trace.parts.structure.graph
    inputs = {port.name for port in top.input}
    outputs = {port.name for port in top.output}
    layers = {key(node): node for node in nodes(top) if view(node)}
    groups: dict[frozenset[str], list[tuple[Edit, bool]]] = defaultdict(list)
    for edit in trace.edits:
        if isinstance(edit, Restore):
            direct = edit.node in outputs
        elif isinstance(edit, Select) and edit.node in layers and edit.index in (H0, C0):
            name = given(layers[edit.node], edit.index)
            # Another reader of the input would get a tensor of another size.
            direct = name in inputs and trace.readers[name] == 1
        else:
            continue
        blocks = chain.from_iterable(edit.options)
        axes = [block.axis for block in blocks if block.axis is not None]
        names = frozenset(map(trace.pool.name, axes))
        # With dead components a state would have neither the old size nor the layer's.
        full = all(placed.get(name) == sizes.get(name) for name in names)
        groups[names].append((edit, direct and full))
    found: set[Edit] = set()
    for group in groups.values():
        # All or none: a state that shrank at one end only would not fit the next call.
        if all(direct for _, direct in group):
            found.update(edit for edit, _ in group)
    return found
