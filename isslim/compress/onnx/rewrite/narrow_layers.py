"""Narrow linear layers in a graph: where they may stand, and the products that they are in a file.

A narrow layer (`isslim.compress.pruning.narrow`) stands before the input of a recurrent layer, of
all its directions together, or before a constant matrix. Written, it is one more MatMul before that
operator. Its bias is added to those of its readers, which is the same function, so that there is no
addition.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import NodeProto, helper

from isslim.compress.onnx.model.recurrent import X
from isslim.compress.onnx.model.split_model import SplitModel, inner_first, label, nodes, set_input
from isslim.compress.onnx.model.split_model import replace as refill
from isslim.compress.onnx.rewrite.named_arrays import LayerSite, Meaning
from isslim.compress.onnx.trace.edits import Product, key
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.onnx.trace.types import Layer
from isslim.compress.pruning import narrow
from isslim.compress.pruning.axes import Array, Arrays, NarrowPlace, NetworkAxes
from isslim.types.axis_names import rank_of_operator

OPERATORS = ("MatMul", "Gemm")
"""Those with a matrix, beside recurrent layers, that a narrow layer may stand before."""


def narrow_places(trace: AxisFacts, meaning: Meaning) -> tuple[NarrowPlace, ...]:
    """Where narrow layers may stand in a graph, in the order of the graph.

    Args:
        trace: the graph at full size.
        meaning: what its arrays mean.
    """
    declaration = meaning.declaration
    operators = {key(node): node for node in nodes(trace.parts.structure.graph)}
    found = []
    for name, layers in meaning.layers.items():
        (first, *others) = _inputs(layers[0])
        found.append(
            _place(rank_of_operator(name), name, first, tuple((site, 0) for site in others))
        )
    for name, products in meaning.products.items():
        node = operators[products[0].node]
        if node.op_type in OPERATORS and _reads_rows(trace, products[0]):
            found.append(_place(rank_of_operator(label(node)), name, name))
    order = {site.name: position for position, site in enumerate(declaration.sites)}
    # Of two operators of one name the second has none: its axis would be that of the first.
    places = {place.axis: place for place in reversed(found) if _fits(declaration, place)}
    return tuple(sorted(places.values(), key=lambda place: order[place.site]))


def as_narrow(meaning: Meaning, arrays: Arrays, places: tuple[NarrowPlace, ...]) -> Meaning:
    """What arrays mean that may have narrow layers.

    Args:
        meaning: of the same graph, with any narrow layers.
        arrays: of any sizes.
        places: where narrow layers may stand (`narrow_places`).
    """
    declaration = meaning.declaration
    for place in declaration.narrow:
        declaration = narrow.without_narrow(declaration, place)
    for place in places:
        if place.weight in arrays:
            declaration = narrow.declare_narrow(declaration, place)
    return replace(meaning, declaration=declaration)


def without_biases(arrays: Arrays, declaration: NetworkAxes) -> dict[str, Array]:
    """The same network with the biases of its narrow layers added to those of their readers.

    Args:
        arrays: the network.
        declaration: its axes, of any sizes.
    """
    same = dict(arrays)
    sites = {site.name: site for site in declaration.sites}
    # From the last to the first: a reader may be a narrow layer itself.
    for place in reversed(declaration.narrow):
        for name, position in place.readers:
            site = sites[name]
            matrix = same[site.readers[position].parameter].astype(np.float64)
            added = same[str(site.bias)] + matrix @ same[place.bias]
            same[str(site.bias)] = added.astype(np.float32)
        same[place.bias] = np.zeros_like(same[place.bias])
    return same


def multiplied_out(arrays: Arrays, declaration: NetworkAxes) -> dict[str, Array]:
    """The same network without narrow layers.

    Args:
        arrays: the network.
        declaration: its axes.
    """
    plain = dict(arrays)
    for place in declaration.narrow:
        plain, declaration = narrow.fold(plain, declaration, place)
    return plain


def insert_products(parts: SplitModel, meaning: Meaning) -> None:
    """Puts the product of every narrow layer before the operators that read it; in place.

    Args:
        parts: the graph at its sizes, with the matrices of narrow layers under the names of their
            arrays, (inputs, K).
        meaning: what its arrays mean, with their narrow layers.
    """
    before: dict[str, NodeProto] = {}
    operators = {key(node): node for node in nodes(parts.structure.graph)}
    for place in meaning.declaration.narrow:
        for at, index in _read_by(meaning, place):
            node = operators[at]
            made = parts.fresh(f"{place.name}.{at}")
            read = [node.input[index], place.weight]
            before[at] = helper.make_node("MatMul", read, [made], name=made)
            set_input(node, index, made)
    for graph in inner_first(parts.structure.graph):
        if before.keys() & {key(node) for node in graph.node}:
            order: list[NodeProto] = []
            for node in graph.node:
                if key(node) in before:
                    order.append(before[key(node)])
                order.append(node)
            refill(graph.node, order)


def _place(
    axis: str, name: str, site: str, others: tuple[tuple[str, int], ...] = ()
) -> NarrowPlace:
    own = f"{name}.narrow"
    return NarrowPlace(axis, own, f"{own}.weight", f"{own}.bias", site, 0, others)


def _inputs(layer: Layer) -> list[str]:
    """The sites that read a layer's input, one for each direction."""
    seen = layer.recurrent
    site = LayerSite.JOINT if seen.joint else LayerSite.INPUT
    return [site.of(f"{seen.name}.{direction}") for direction in seen.directions]


def _read_by(meaning: Meaning, place: NarrowPlace) -> list[tuple[str, int]]:
    """The operators before which a narrow layer stands, each with the input that it makes."""
    matrix = narrow.reader_of(meaning.declaration, place).parameter
    if matrix in meaning.products:
        return [(product.node, 1 - product.index) for product in meaning.products[matrix]]
    for layers in meaning.layers.values():
        if place.site in _inputs(layers[0]):
            return [(key(layer.recurrent.node), X) for layer in layers]
    raise LookupError(place.site)


def _fits(declaration: NetworkAxes, place: NarrowPlace) -> bool:
    names = {site.name for site in declaration.sites}
    return names >= {name for name, _ in place.readers} and not narrow.misfit(declaration, place)


def _reads_rows(trace: AxisFacts, product: Product) -> bool:
    """Whether a matrix stands behind an activation and reads its last dimension."""
    layout = trace.layout(product.activation)
    return product.features == (layout.rank if layout else 2) - 1
