"""Infers the axes of a model in normal form: walks the graph, then checks its constants.

After the walk: a constant must have the same axes wherever it is read, and be read nowhere else;
layers that share their weights share their axes; axes that share a size shrink together or not at
all. What matrices give, their channels, may shrink like units where other matrices read it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

from isslim.compress.onnx.model.layouts import Block, Blocks
from isslim.compress.onnx.model.recurrent import B, P, R, W
from isslim.compress.onnx.normalise.normal_form import NormalForm
from isslim.compress.onnx.trace.edits import Restore, Use, divided
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.onnx.trace.graph_view import GraphView
from isslim.compress.onnx.trace.knowledge import Knowledge
from isslim.compress.onnx.trace.pool import PinReason
from isslim.compress.onnx.trace.tracing import walk
from isslim.compress.onnx.trace.types import Layer, Unfollowable


def infer(form: NormalForm) -> AxisFacts:
    """The axes of a model in normal form.

    Args:
        form: the model; it is not changed.

    Returns:
        Everything that was inferred; `pool` shows which axes may shrink, and why others may not.
    """
    known = Knowledge(GraphView.of(form.parts, form.markers), walk)
    walk(known, form.parts.structure.graph)
    for port in form.parts.structure.graph.output:
        known.pin(port.name, f"it reaches the graph's output '{port.name}'")
    # Before constants are compared: an axis may have been divided since its first reader was seen.
    _refine(known)
    _settle_constants(known)
    _settle_layers(known)
    _refine(known)  # what met in constants
    _settle_states(known)
    _settle_channels(known)
    # Last, when no axis gets another reason: one that stays keeps those of its size.
    known.pool.finalize()
    return known.facts()


def _refine(known: Knowledge) -> None:
    """Replaces divided axes by their parts in all facts recorded before the division."""
    refined, found = known.axes.refined, known.findings
    found.edits = [divided(edit, refined) for edit in found.edits]
    for index, product in enumerate(found.products):
        found.products[index] = replace(product, blocks=refined(product.blocks))
    for index, layer in enumerate(found.layers):
        found.layers[index] = replace(layer, inputs=refined(layer.inputs))
    for index, use in enumerate(found.uses):
        dims = [dim and refined(dim) for dim in use.dims]
        found.uses[index] = replace(use, dims=tuple(dims))


def _settle_constants(known: Knowledge) -> None:
    """Joins the axes of every constant over all its readers."""
    by_name: dict[str, list[Use]] = defaultdict(list)
    for use in known.findings.uses:
        by_name[use.name].append(use)
    for name, uses in by_name.items():
        axes = []
        for use in uses:
            axes += _axes(_blocks_of_use(use))
        # One with other readers as well keeps its size, and so do the axes that index it.
        if not _unite_uses(known, name, uses):
            text = f"the constant '{name}' is also read in a way that does not shrink"
            _pin_all(known, axes, text)


def _unite_uses(known: Knowledge, name: str, uses: list[Use]) -> bool:
    """Unifies the axes of a constant over its readers; returns whether those are all of them."""
    first, *others = uses
    try:
        for other in others:
            for one, two in zip(first.dims, other.dims, strict=True):
                # For one reader units index it, for the other no prunable axis does.
                if (one is None) != (two is None):
                    if not _keep_size(known, one or two or (), name):
                        return False
                    continue
                aligned = known.axes.align_blocks([one or (), two or ()])
                known.axes.unite(*aligned)
    except Unfollowable:
        return False
    # A divisor has ones at removed components where another reader needs zeros.
    same_rest = len({use.rest for use in uses}) == 1
    return same_rest and len(uses) == known.graph.readers[name]


def _keep_size(known: Knowledge, blocks: Blocks, name: str) -> bool:
    """Leaves a dimension as it is that begins at a matrix, as the rows of a tied embedding do.

    Args:
        known: takes the reason.
        blocks: of the dimension.
        name: of the constant.

    Returns:
        Whether it could be left: not where units of a layer index it.
    """
    axes = _axes(known.axes.refined(blocks))
    if any(known.pool.is_recurrent(axis) for axis in axes):
        return False
    _pin_all(known, axes, f"the constant '{name}' is also read in a way that does not shrink")
    return True


def _settle_layers(known: Knowledge) -> None:
    """Joins the axes of layers with the same weights."""
    by_weights: dict[str, list[Layer]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for layer in known.findings.layers:
        by_weights[layer.recurrent.given(W)].append(layer)
        counts.update(_weights(layer))
    # Layers that share W alone would be cut by one and not by the other.
    for layers in by_weights.values():
        if _share_all(known, layers, counts) and _unite_layers(known, layers):
            continue
        for layer in layers:
            text = f"weights of '{layer.recurrent.name}' are also read by another node"
            _pin_all(known, [*layer.axes, *_axes(layer.inputs)], text)


def _share_all(known: Knowledge, layers: list[Layer], counts: Counter[str]) -> bool:
    """Whether layers with the same W share all of their weights, and no other node reads these.

    Args:
        known: the readers of every value.
        layers: all that have the same W.
        counts: how often each constant is among the weights of any layer.
    """
    if len({_kind(layer) for layer in layers}) > 1:
        return False
    readers = known.graph.readers
    weights = _weights(layers[0])
    return all(readers[name] == counts[name] == len(layers) for name in weights)


def _unite_layers(known: Knowledge, layers: list[Layer]) -> bool:
    """Unifies the axes of layers, of units and inputs; returns whether they are compatible."""
    first, *others = layers
    try:
        for layer in others:
            inputs = known.axes.align_blocks([first.inputs, layer.inputs])
            known.axes.unite(*inputs)
            for one, other in zip(first.axes, layer.axes, strict=True):
                known.pool.unite(one, other)
    except Unfollowable:
        return False
    return True


def _settle_states(known: Knowledge) -> None:
    """Excludes layers that only the caller reads, as a state.

    Then the state is the graph's result, and zeros in it would change the answer.
    """
    read = _read_axes(known)
    for edit in known.findings.edits:
        if not isinstance(edit, Restore):
            continue
        for axis in _axes(block for option in edit.options for block in option):
            # One with other readers may be removed: the caller gets zeros for it.
            if known.pool.find(axis) not in read:
                text = "it reaches the graph's outputs only, as a state that the caller carries"
                _pin_all(known, [axis], text)


def _settle_channels(known: Knowledge) -> None:
    """Offers what matrices give for removal, where it is known what each channel is worth.

    That follows from the matrices that read it; so a graph's other channels stay.
    """
    pool, found = known.pool, known.findings
    # A graph without recurrent layers is another tool's.
    if not found.layers:
        return
    read = [layer.inputs for layer in found.layers] + [each.blocks for each in found.products]
    weighed = {pool.find(axis) for blocks in read for axis in _axes(blocks)}
    summed = {pool.find(axis) for dim in found.summed for axis in _axes(known.axes.refined(dim))}
    made = [pool.find(axis) for use in found.uses for axis in _axes(_blocks_of_use(use))]
    for axis in sorted(set(made)):
        if pool.is_recurrent(axis):
            continue
        pool.offer(axis)
        if axis in summed:
            _pin_all(known, [axis], "it is summed without a matrix, which would weigh its channels")
        elif axis not in weighed and not pool.reasons(axis):
            _pin_all(known, [axis], "no matrix reads it, which would weigh its channels")


def _read_axes(known: Knowledge) -> set[int]:
    """Axes that a weight reads, or over which a sum is taken."""
    found = known.findings
    blocks: list[Block] = []
    for layer in found.layers:
        blocks += layer.inputs
    for product in found.products:
        blocks += product.blocks
    for use in found.uses:
        blocks += _blocks_of_use(use)
    for dim in found.summed:
        blocks += known.axes.refined(dim)
    return {known.pool.find(axis) for axis in _axes(blocks)}


def _pin_all(known: Knowledge, axes: Iterable[int], text: str) -> None:
    for axis in axes:
        known.pool.pin(axis, PinReason(text))


def _axes(blocks: Iterable[Block]) -> list[int]:
    return [block.axis for block in blocks if block.axis is not None]


def _blocks_of_use(use: Use) -> Blocks:
    found: list[Block] = []
    for dim in use.dims:
        found += dim or ()
    return tuple(found)


def _kind(layer: Layer) -> tuple[object, ...]:
    """Properties that layers with the same weights must share to be one layer that runs twice."""
    seen = layer.recurrent
    weights = tuple(map(seen.given, (W, R, B, P)))
    return seen.kind, seen.directions, seen.units, seen.linear_before_reset, weights


def _weights(layer: Layer) -> list[str]:
    names = map(layer.recurrent.given, (W, R, B, P))
    return [name for name in names if name]
