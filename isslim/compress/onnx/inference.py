"""From a model taken apart to its axes: the walk, and what follows when it is done.

After the walk: a constant must have the same axes wherever it is read, and be read nowhere else;
layers that share their weights share their axes; axes that share a size shrink together or not at
all.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from isslim.compress.onnx.model.layouts import Block
from isslim.compress.onnx.model.recurrent import B, P, R, W
from isslim.compress.onnx.normalise.normal_form import NormalForm
from isslim.compress.onnx.trace.edits import Restore, divided
from isslim.compress.onnx.trace.pool import PinReason
from isslim.compress.onnx.trace.rules import (
    elementwise as rules_elementwise,
)
from isslim.compress.onnx.trace.rules import (
    joining as rules_joining,
)
from isslim.compress.onnx.trace.rules import (
    moving as rules_moving,
)
from isslim.compress.onnx.trace.rules import (
    nested as rules_nested,
)
from isslim.compress.onnx.trace.rules import (
    parts as rules_parts,
)
from isslim.compress.onnx.trace.rules import (
    products as rules_products,
)
from isslim.compress.onnx.trace.rules import (
    recurrent as rules_recurrent,
)
from isslim.compress.onnx.trace.rules import (
    reducing as rules_reducing,
)
from isslim.compress.onnx.trace.rules import (
    shapes as rules_shapes,
)
from isslim.compress.onnx.trace.tracing import Rule, Trace, walk
from isslim.compress.onnx.trace.types import Layer, Unfollowable

_RULES: dict[str, Rule] = {
    **rules_elementwise.RULES,
    **rules_reducing.RULES,
    **rules_products.RULES,
    "Identity": rules_moving.same,
    "Cast": rules_moving.same,
    "Dropout": rules_moving.same,
    "Transpose": rules_moving.transpose,
    "Squeeze": rules_moving.squeeze,
    "Unsqueeze": rules_moving.unsqueeze,
    "Flatten": rules_moving.flatten,
    "Reshape": rules_moving.reshape,
    "Expand": rules_moving.expand,
    "Slice": rules_parts.slice_,
    "Split": rules_parts.split,
    "Gather": rules_parts.gather,
    "GatherElements": rules_parts.gather_elements,
    "Concat": rules_joining.concat,
    "GatherND": rules_parts.gather_nd,
    "Resize": rules_parts.resize,
    "Tile": rules_parts.tile,
    "ReverseSequence": rules_parts.reverse_sequence,
    "Pad": rules_parts.pad,
    "Shape": rules_shapes.shape,
    "ConstantOfShape": rules_shapes.constant_of_shape,
    "LSTM": rules_recurrent.recurrent,
    "GRU": rules_recurrent.recurrent,
    "RNN": rules_recurrent.recurrent,
    "If": rules_nested.branches,
    "Loop": rules_nested.bodies,
    "Scan": rules_nested.bodies,
}


def infer(form: NormalForm) -> Trace:
    """The axes of a model in normal form.

    Args:
        form: the model; it stays as it is.

    Returns:
        Everything that is known of it; `pool` says which axes may shrink, and why others may not.
    """
    trace = Trace(form.parts, {name: _guarded(rule) for name, rule in _RULES.items()}, form.markers)
    walk(trace, form.parts.structure.graph)
    for port in form.parts.structure.graph.output:
        trace.pin(port.name, f"it reaches the graph's output '{port.name}'")
    _divide(trace)
    _settle_constants(trace)
    _settle_layers(trace)
    _divide(trace)  # what met in constants
    _settle_states(trace)
    trace.pool.finalize()
    return trace


def _guarded(rule: Rule) -> Rule:
    """A rule behind what holds for shapes that are computed at run time."""

    def guarded(trace: Trace, node: object) -> None:
        if not rules_shapes.follow(trace, node):  # type: ignore[arg-type]
            if rule is not rules_shapes.shape:
                rules_shapes.guard(trace, node)  # type: ignore[arg-type]
            rule(trace, node)  # type: ignore[arg-type]

    return guarded


def _divide(trace: Trace) -> None:
    """Puts the parts of divided axes in everything that was noted before they were divided."""
    cut = trace.divided
    trace.edits = [divided(edit, cut) for edit in trace.edits]
    trace.products = [replace(product, blocks=cut(product.blocks)) for product in trace.products]
    trace.layers = [replace(layer, inputs=cut(layer.inputs)) for layer in trace.layers]
    trace.uses = [
        replace(use, dims=tuple(dim and cut(dim) for dim in use.dims)) for use in trace.uses
    ]


def _settle_constants(trace: Trace) -> None:
    """Joins the axes of every constant over all its readers; one that is read otherwise too keeps its size."""
    found = defaultdict(list)
    for use in trace.uses:
        found[use.name].append(use)
    for name, uses in found.items():
        axes = [
            block.axis
            for use in uses
            for blocks in use.dims
            for block in blocks or ()
            if block.axis is not None
        ]
        try:
            for other in uses[1:]:
                for one, two in zip(uses[0].dims, other.dims, strict=True):
                    if (one is None) != (two is None):
                        raise Unfollowable("differs")
                    trace.unite(*trace.align_blocks([one or (), two or ()]))
            fits = len(uses) == trace.readers[name] and len({use.rest for use in uses}) == 1
        except Unfollowable:
            fits = False
        if not fits:
            for axis in axes:
                trace.pool.pin(
                    axis,
                    PinReason(f"the constant '{name}' is also read in a way that does not shrink"),
                )


def _settle_layers(trace: Trace) -> None:
    """Joins the axes of layers with the same weights."""
    groups: dict[str, list[Layer]] = defaultdict(list)
    for layer in trace.layers:
        groups[layer.recurrent.given(W)].append(layer)
    counts: dict[str, int] = defaultdict(int)
    for layer in trace.layers:
        for name in filter(None, map(layer.recurrent.given, (W, R, B, P))):
            counts[name] += 1
    for layers in groups.values():
        first = layers[0]
        alike = all(_weights(layer) == _weights(first) for layer in layers)
        alone = all(trace.readers[name] == counts[name] for name in _names(first))
        alone = alone and all(counts[name] == len(layers) for name in _names(first))
        try:
            if not alike or not alone:
                raise Unfollowable("shared in part")
            for layer in layers[1:]:
                trace.unite(*trace.align_blocks([first.inputs, layer.inputs]))
                for one, other in zip(first.axes, layer.axes, strict=True):
                    trace.pool.unite(one, other)
        except Unfollowable:
            for layer in layers:
                inner: tuple[Block, ...] = layer.inputs
                for axis in (
                    *layer.axes,
                    *(block.axis for block in inner if block.axis is not None),
                ):
                    trace.pool.pin(
                        axis,
                        PinReason(
                            f"weights of '{layer.recurrent.name}' are also read by another node"
                        ),
                    )


def _settle_states(trace: Trace) -> None:
    """Leaves layers alone that nothing reads but the caller, as a state: then the state is what the graph is for."""
    blocks = [block for layer in trace.layers for block in layer.inputs]
    blocks += [block for product in trace.products for block in product.blocks]
    blocks += [block for use in trace.uses for dim in use.dims for block in dim or ()]
    blocks += [block for dim in trace.summed for block in trace.divided(dim)]
    read = {trace.pool.find(block.axis) for block in blocks if block.axis is not None}
    carried = [
        option for edit in trace.edits if isinstance(edit, Restore) for option in edit.options
    ]
    for axis in {block.axis for option in carried for block in option if block.axis is not None}:
        if trace.pool.find(axis) not in read:
            trace.pool.pin(
                axis,
                PinReason(
                    "it reaches the graph's outputs only, as a state that the caller carries"
                ),
            )


def _weights(layer: Layer) -> tuple[object, ...]:
    seen = layer.recurrent
    return (
        seen.kind,
        seen.directions,
        seen.units,
        seen.linear_before_reset,
        *map(seen.given, (W, R, B, P)),
    )


def _names(layer: Layer) -> list[str]:
    return [name for name in map(layer.recurrent.given, (W, R, B, P)) if name]
