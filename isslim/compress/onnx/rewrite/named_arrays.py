"""A traced graph as arrays and their declaration: what the algebra of `isslim.compress.pruning.axes` works on.

Only what an axis that may shrink touches is there, in canonical form: matrices (out, in), float32.
Names of arrays: `<node>.<direction>.weight` and so on for a layer (`recurrent.Cell`), the
constant's own name for everything else, and `<axis>.kept`, the numbers of an axis's components, for
axes whose states or neighbours are selected by number.

Segments of axes that stay as they are have no axis: fixed inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from isslim.compress.onnx.model.layouts import Block, Blocks
from isslim.compress.onnx.model.recurrent import B, Cell, P, R, W, cell
from isslim.compress.onnx.model.split_model import nodes
from isslim.compress.onnx.trace.edits import Product, Restore, Select, key
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.onnx.trace.pool import Axes
from isslim.compress.onnx.trace.types import Layer
from isslim.compress.pruning.axes import (
    Array,
    Dimension,
    InputMatrix,
    NetworkAxes,
    PreActivation,
    Segment,
)


@dataclass(frozen=True)
class Meaning:
    """How constants and canonical arrays belong together.

    Attributes:
        declaration: of the arrays.
        layers: recurrent nodes by the name of their arrays, those with the same weights together.
        products: matrices by the name of their constant, those that read by the same constant
            together.
        biases: per constant that is the bias of a product, what it is multiplied with to be in the
            matrix's terms.
        created: per product without a bias that may get one, the name of it.
    """

    declaration: NetworkAxes
    layers: dict[str, list[Layer]]
    products: dict[str, list[Product]]
    biases: dict[str, float]
    created: dict[str, str]


def declare(trace: AxisFacts) -> tuple[dict[str, Array], Meaning]:
    """The arrays of a traced graph, and what they mean."""
    return _Declaring(trace).result()


def segments(pool: Axes, blocks: Blocks) -> Dimension:
    """A dimension in the algebra's terms; neighbours that stay as they are are one."""
    found: list[Segment] = []
    for prunable, run in groupby(blocks, key=lambda block: _prunable(pool, block)):
        if prunable:
            found += [Segment(pool.name(block.axis or 0), block.size) for block in run]
        else:
            found.append(Segment(None, sum(block.size for block in run)))
    return tuple(found)


def _prunable(pool: Axes, block: Block) -> bool:
    return block.axis is not None and pool.is_prunable(block.axis)


class _Declaring:
    """Collects arrays, dimensions and sites."""

    def __init__(self, trace: AxisFacts) -> None:
        self._trace, self._pool = trace, trace.pool
        self._arrays: dict[str, Array] = {}
        self._dimensions: dict[str, tuple[Dimension, ...]] = {}
        self._sites: list[tuple[int, PreActivation]] = []
        self._order = {
            key(node): index for index, node in enumerate(nodes(trace.parts.structure.graph))
        }
        self._layers: dict[str, list[Layer]] = {}
        self._products: dict[str, list[Product]] = {}
        self._biases: dict[str, float] = {}
        self._created: dict[str, str] = {}

    def result(self) -> tuple[dict[str, Array], Meaning]:
        """Everything."""
        for layer in self._trace.layers:
            own = [axis for axis in layer.axes if self._pool.is_prunable(axis)]
            if own or any(_prunable(self._pool, block) for block in layer.inputs):
                self._layer(layer)
        for product in self._trace.products:
            self._product(product)
        for use in self._trace.uses:
            if use.name not in self._dimensions and any(
                _prunable(self._pool, block) for blocks in use.dims for block in blocks or ()
            ):
                value = self._trace.parts.constants[use.name]
                whole = [
                    blocks or (Block(None, length),)
                    for blocks, length in zip(use.dims, value.shape, strict=True)
                ]
                self._put(use.name, value, *(segments(self._pool, blocks) for blocks in whole))
        self._kept()
        axes = {
            self._pool.name(axis): self._pool.size(axis)
            for group in self._pool.groups()
            for axis in group
        }
        sites = tuple(site for _, site in sorted(self._sites, key=lambda entry: entry[0]))
        declaration = NetworkAxes(axes, self._dimensions, sites, {})
        return self._arrays, Meaning(
            declaration, self._layers, self._products, self._biases, self._created
        )

    def _put(self, name: str, value: np.ndarray, *dimensions: Dimension) -> None:
        self._arrays[name] = np.array(value, np.float32)
        self._dimensions[name] = dimensions

    def _layer(self, layer: Layer) -> None:
        """The arrays and sites of a layer; of several with the same weights only once."""
        seen = layer.recurrent
        twin = next(
            (
                name
                for name, each in self._layers.items()
                if each[0].recurrent.given(W) == seen.given(W)
            ),
            None,
        )
        if twin is not None:
            self._layers[twin].append(layer)
            return
        self._layers[seen.name] = [layer]
        given = {
            index: self._trace.parts.constants[seen.given(index)]
            for index in (W, R, B, P)
            if seen.given(index)
        }
        for position, (axis, direction) in enumerate(zip(layer.axes, seen.directions, strict=True)):
            name = f"{seen.name}.{direction}"
            own = self._pool.name(axis) if self._pool.is_prunable(axis) else None
            made = cell(seen, position, given)
            units = (Segment(own, seen.units),)
            rows = {
                label: (Segment(own, seen.units, len(array) // seen.units),)
                for label, array in made.arrays().items()
            }
            columns = {
                "weight": segments(self._pool, layer.inputs),
                "recurrence": units,
                "candidate": units,
            }
            for label, array in made.arrays().items():
                dimensions = (rows[label], columns[label]) if label in columns else (rows[label],)
                self._put(f"{name}.{label}", array, *dimensions)
            self._layer_sites(layer, name, made, own is not None)

    def _layer_sites(self, layer: Layer, name: str, made: Cell, prunable: bool) -> None:
        place = self._order[key(layer.recurrent.node)]
        inward = InputMatrix(f"{name}.weight", self._activations(layer.inputs, name))
        across = InputMatrix(f"{name}.recurrence", (name,))
        if layer.recurrent.joint:
            self._sites.append((place, PreActivation(name, (inward, across), f"{name}.bias")))
            return
        if any(_prunable(self._pool, block) for block in layer.inputs):
            self._sites.append((place, PreActivation(f"{name}.input", (inward,), f"{name}.bias")))
        if prunable:
            self._sites.append(
                (place, PreActivation(f"{name}.recurrent", (across,), f"{name}.recurrence_bias"))
            )
        if prunable and made.candidate is not None:
            held = InputMatrix(f"{name}.candidate", (f"{name}:reset",))
            self._sites.append(
                (place, PreActivation(f"{name}.candidate", (held,), f"{name}.candidate_bias"))
            )

    def _product(self, product: Product) -> None:
        """The arrays of a matrix that an axis touches, and its site if it reads one."""
        if product.matrix in self._products:
            self._products[product.matrix].append(product)
            return
        use = next(
            u for u in self._trace.uses if u.name == product.matrix and u.node == product.node
        )
        gives = use.dims[product.gives] or ()
        reads = any(_prunable(self._pool, block) for block in product.blocks)
        if not reads and not any(_prunable(self._pool, block) for block in gives):
            return
        value = self._trace.parts.constants[product.matrix]
        matrix = canonical(value, product)
        rows: Dimension = segments(self._pool, gives) if gives else (Segment(None, len(matrix)),)
        self._products[product.matrix] = [product]
        self._put(product.matrix, matrix, rows, segments(self._pool, product.blocks))
        alone = sum(each.matrix == product.matrix for each in self._trace.products) == 1
        bias = product.bias if alone else None
        if bias is not None:
            self._biases[bias] = product.scale
            self._put(
                bias,
                np.multiply(
                    self._trace.parts.constants[bias].reshape(-1), product.scale, dtype=np.float32
                ),
                rows,
            )
        elif alone and reads and self._may_create(product):
            bias = self._created[product.node] = f"{product.matrix}.bias"
            self._put(bias, np.zeros(len(matrix)), rows)
        if reads:
            activations = self._activations(product.blocks, product.matrix)
            site = PreActivation(product.matrix, (InputMatrix(product.matrix, activations),), bias)
            self._sites.append((self._order[product.node], site))

    def _may_create(self, product: Product) -> bool:
        """Whether the operator has an input for a bias that is left out."""
        node = next(
            node for node in nodes(self._trace.parts.structure.graph) if key(node) == product.node
        )
        left_out = len(node.input) < 3 or not node.input[2]
        return left_out and (
            node.op_type == "Conv" or (node.op_type == "Gemm" and self._trace.parts.opset >= 11)
        )

    def _activations(self, blocks: Blocks, reader: str) -> tuple[str, ...]:
        """One name for each segment of a dimension."""
        found = []
        for index, (prunable, run) in enumerate(
            groupby(blocks, key=lambda block: _prunable(self._pool, block))
        ):
            found += [block.source for block in run] if prunable else [f"{reader}:{index}"]
        return tuple(found)

    def _kept(self) -> None:
        """The numbers of components where something is selected by number."""
        for edit in self._trace.edits:
            if not isinstance(edit, Select | Restore):
                continue
            for block in (block for option in edit.options for block in option):
                if block.axis is not None and self._pool.is_prunable(block.axis):
                    name = self._pool.name(block.axis)
                    self._put(f"{name}.kept", np.arange(block.size), (Segment(name, block.size),))


def canonical(value: np.ndarray, product: Product) -> np.ndarray:
    """A matrix as (out, in); a kernel of one point is one."""
    flat = value.reshape(value.shape[:2])
    return flat if product.gives == 0 else flat.T
