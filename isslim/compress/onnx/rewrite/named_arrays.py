"""A traced graph as arrays and their declaration, on which the algebra of `pruning.axes` works.

They are only the arrays that a prunable axis indexes, in canonical form: matrices (out, in),
float32. Names of arrays: `<node>.<direction>.weight` and so on for a layer (`recurrent.Cell`), the
constant's own name for everything else, and `<axis>.kept`, the numbers of an axis's components, for
axes whose states or neighbours are selected by number.

Segments of axes that are not prunable have no axis: fixed inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import chain, groupby
from math import prod

import numpy as np

from isslim.compress.onnx.model.layouts import Block, Blocks
from isslim.compress.onnx.model.recurrent import B, P, R, Recurrent, W, cell
from isslim.compress.onnx.model.split_model import given, nodes
from isslim.compress.onnx.trace.edits import Product, Restore, Select, Use, key
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


class LayerSite(Enum):
    """The inputs of a layer's site; the value is the suffix of its name."""

    JOINT = ""
    """The layer's input and its output of the previous step, concatenated."""
    INPUT = ".input"
    """The layer's input."""
    RECURRENT = ".recurrent"
    """The layer's output of the previous step."""
    CANDIDATE = ".candidate"
    """That output times the reset gate (a GRU without `linear_before_reset`)."""

    def of(self, direction: str) -> str:
        """The name of the site of one direction of a layer, `<node>.<direction>`."""
        return direction + self.value

    @classmethod
    def all_of(cls, layer: Recurrent) -> tuple[LayerSite, ...]:
        """The sites of each direction of a layer: several, where W x and R h are not summed."""
        if layer.joint:
            return (cls.JOINT,)
        separate = (cls.INPUT, cls.RECURRENT)
        return (*separate, cls.CANDIDATE) if layer.reset_first else separate


@dataclass(frozen=True)
class Meaning:
    """How constants and canonical arrays correspond.

    Attributes:
        declaration: of the arrays.
        layers: recurrent nodes by the name of their arrays, those with the same weights together.
        products: matrices by the name of their constant, those that read by the same constant
            together.
        biases: per constant that is the bias of a product, the factor that converts it to the
            matrix's terms.
        created: per product without a bias that may get one, the name of it.
    """

    declaration: NetworkAxes
    layers: dict[str, list[Layer]]
    products: dict[str, list[Product]]
    biases: dict[str, float]
    created: dict[str, str]


def declare(trace: AxisFacts) -> tuple[dict[str, Array], Meaning]:
    """The arrays of a traced graph by name, float32, and their meaning."""
    return _Declaring(trace).result()


def segments(pool: Axes, blocks: Blocks) -> Dimension:
    """A dimension in the algebra's terms; neighbouring fixed blocks are one segment.

    Args:
        pool: the axes.
        blocks: of the dimension.
    """
    # The algebra counts segments: it treats fixed neighbours as one.
    found: list[Segment] = []
    for prunable, run in groupby(blocks, key=lambda block: _prunable(pool, block)):
        if prunable:
            found += [Segment(pool.name(block.axis or 0), block.size) for block in run]
        else:
            found.append(Segment(None, sum(block.size for block in run)))
    return tuple(found)


def _prunable(pool: Axes, block: Block) -> bool:
    return block.axis is not None and pool.is_prunable(block.axis)


def _is_of(use: Use, product: Product) -> bool:
    return use.name == product.matrix and use.node == product.node


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
        """All arrays and their meaning.

        Layers and products come first: they know the structure of their constants.
        """
        for layer in self._trace.layers:
            if any(map(self._pool.is_prunable, layer.axes)) or self._touches(layer.inputs):
                self._layer(layer)
        for product in self._trace.products:
            self._product(product)
        for use in self._trace.uses:
            if use.name not in self._dimensions and any(map(self._touches, use.dims)):
                self._operand(use)
        self._kept()
        free = chain.from_iterable(self._pool.groups())
        axes = {self._pool.name(axis): self._pool.size(axis) for axis in free}
        # In the order of the graph, which is that of the data.
        sites = tuple(site for _, site in sorted(self._sites, key=lambda entry: entry[0]))
        declaration = NetworkAxes(axes, self._dimensions, sites, self._produced())
        return self._arrays, Meaning(
            declaration, self._layers, self._products, self._biases, self._created
        )

    def _produced(self) -> dict[str, str]:
        """Matrices that are also looked up by rows (a tied embedding), with what that gives."""
        found = {}
        for use in self._trace.uses:
            product = next(iter(self._products.get(use.name, ())), None)
            if product is None or _is_of(use, product) or product.gives != 0:
                continue
            columns = use.dims[product.reads] or ()
            if len(columns) == 1:
                found[use.name] = columns[0].source
        return found

    def _touches(self, blocks: Blocks | None) -> bool:
        """Whether a dimension has an axis that may shrink."""
        return any(_prunable(self._pool, block) for block in blocks or ())

    def _operand(self, use: Use) -> None:
        """A constant that is not a matrix: added, multiplied, stacked."""
        value = self._trace.parts.constants[use.name]
        dimensions = []
        for blocks, length in zip(use.dims, value.shape, strict=True):
            dimensions.append(segments(self._pool, blocks or (Block(None, length),)))
        self._put(use.name, value, *dimensions)

    def _put(self, name: str, value: np.ndarray, *dimensions: Dimension) -> None:
        self._arrays[name] = np.array(value, np.float32)
        self._dimensions[name] = dimensions

    def _layer(self, layer: Layer) -> None:
        """The arrays and sites of a layer; only once for several with the same weights."""
        seen = layer.recurrent
        for twins in self._layers.values():
            if twins[0].recurrent.given(W) == seen.given(W):
                twins.append(layer)
                return
        self._layers[seen.name] = [layer]
        names = {index: seen.given(index) for index in (W, R, B, P) if seen.given(index)}
        weights = {index: self._trace.parts.constants[name] for index, name in names.items()}
        for position, (axis, direction) in enumerate(zip(layer.axes, seen.directions, strict=True)):
            name = f"{seen.name}.{direction}"
            # A layer that keeps its units is included where its inputs may shrink.
            own = self._pool.name(axis) if self._pool.is_prunable(axis) else None
            made = cell(seen, position, weights)
            units = (Segment(own, seen.units),)
            inputs = segments(self._pool, layer.inputs)
            columns = {"weight": inputs, "recurrence": units, "candidate": units}
            for label, array in made.arrays().items():
                # The units repeat in every gate.
                rows = (Segment(own, seen.units, len(array) // seen.units),)
                dimensions = (rows, columns[label]) if label in columns else (rows,)
                self._put(f"{name}.{label}", array, *dimensions)
            self._layer_sites(layer, name, own is not None)

    def _layer_sites(self, layer: Layer, name: str, prunable: bool) -> None:
        """The sites of one direction: sums in which removed inputs or units leave a gap."""
        # Both directions of a layer read the same.
        read = self._activations(layer.inputs, layer.recurrent.name)
        inward = InputMatrix(f"{name}.weight", read)
        across = InputMatrix(f"{name}.recurrence", (name,))
        held = InputMatrix(f"{name}.candidate", (f"{name}:reset",))
        readers = {
            LayerSite.JOINT: ((inward, across), "bias"),
            LayerSite.INPUT: ((inward,), "bias"),
            LayerSite.RECURRENT: ((across,), "recurrence_bias"),
            LayerSite.CANDIDATE: ((held,), "candidate_bias"),
        }
        place = self._order[key(layer.recurrent.node)]
        for site in LayerSite.all_of(layer.recurrent):
            # What reads fixed inputs needs no repair, but its work counts, and a narrow layer may
            # stand before it.
            reads = site is LayerSite.INPUT and self._touches(layer.inputs)
            if prunable or reads or site is LayerSite.JOINT:
                matrices, bias = readers[site]
                made = PreActivation(site.of(name), matrices, f"{name}.{bias}")
                self._sites.append((place, made))

    def _product(self, product: Product) -> None:
        """The arrays of a matrix that an axis touches, and its site if it reads one."""
        if product.matrix in self._products:
            self._products[product.matrix].append(product)
            return
        use = next(each for each in self._trace.uses if _is_of(each, product))
        gives = use.dims[product.gives] or ()
        reads = self._touches(product.blocks)
        # A matrix between fixed dimensions has no axis: it needs no array.
        if not reads and not self._touches(gives):
            return
        value = self._trace.parts.constants[product.matrix]
        count = value.shape[product.gives]
        rows: Dimension = segments(self._pool, gives) if gives else (Segment(None, count),)
        self._products[product.matrix] = [product]
        matrix = canonical(value, product)
        # A kernel's outputs repeat in every place of its window, as units do in every gate.
        repeated = rows * prod(value.shape[2:])
        self._put(product.matrix, matrix, repeated, segments(self._pool, product.blocks))
        bias = self._bias(product, rows, count, reads=reads)
        if reads:
            activations = self._activations(product.blocks, product.matrix)
            site = PreActivation(product.matrix, (InputMatrix(product.matrix, activations),), bias)
            self._sites.append((self._order[product.node], site))

    def _bias(self, product: Product, rows: Dimension, count: int, *, reads: bool) -> str | None:
        """The array of a product's bias (out,); None where it has no bias that could be changed.

        A matrix that several products read has none: a repair would need one for each.
        """
        if sum(each.matrix == product.matrix for each in self._trace.products) != 1:
            return None
        name = product.bias
        if name is not None:
            self._biases[name] = product.scale
            flat = self._trace.parts.constants[name].reshape(-1)
            self._put(name, np.multiply(flat, product.scale, dtype=np.float32), rows)
        elif reads and self._may_create(product):
            name = self._created[product.node] = f"{product.matrix}.bias"
            self._put(name, np.zeros(count), rows)
        return name

    def _may_create(self, product: Product) -> bool:
        """Whether the operator has an unused input for a bias."""
        node = next(
            node for node in nodes(self._trace.parts.structure.graph) if key(node) == product.node
        )
        # A MatMul has none; before version 11 a Gemm cannot leave it out, so that one has its own.
        return node.op_type in ("Conv", "Gemm") and not given(node, 2)

    def _activations(self, blocks: Blocks, reader: str) -> tuple[str, ...]:
        """One name for each segment of a dimension."""
        found = []
        runs = groupby(blocks, key=lambda block: _prunable(self._pool, block))
        for index, (prunable, run) in enumerate(runs):
            # Fixed inputs belong to no axis; their name only has to be unique.
            found += [block.source for block in run] if prunable else [f"{reader}:{index}"]
        return tuple(found)

    def _kept(self) -> None:
        """The numbers of components where something is selected by number."""
        for edit in self._trace.edits:
            if not isinstance(edit, Select | Restore):
                continue
            for block in chain.from_iterable(edit.options):
                if block.axis is not None and self._pool.is_prunable(block.axis):
                    name = self._pool.name(block.axis)
                    self._put(f"{name}.kept", np.arange(block.size), (Segment(name, block.size),))


def canonical(value: np.ndarray, product: Product) -> np.ndarray:
    """A matrix as (out, in), a kernel as (places out, in): a matrix for each place of its window.

    Args:
        value: (out, in) or (in, out), followed by the sizes of a window.
        product: which of the two it is.
    """
    count = prod(value.shape[2:])
    places = value.reshape(*value.shape[:2], count)
    lying = places if product.gives == 0 else places.swapaxes(0, 1)
    return np.moveaxis(lying, 2, 0).reshape(count * len(lying), lying.shape[1])


def uncanonical(array: np.ndarray, product: Product, window: tuple[int, ...]) -> np.ndarray:
    """The inverse of `canonical`.

    Args:
        array: (places out, in), of any sizes.
        product: how its constant lies.
        window: sizes of the window; none of a matrix.
    """
    count = prod(window)
    places = np.moveaxis(array.reshape(count, len(array) // count, array.shape[1]), 0, 2)
    lying = places if product.gives == 0 else places.swapaxes(0, 1)
    return lying.reshape(*lying.shape[:2], *window)
