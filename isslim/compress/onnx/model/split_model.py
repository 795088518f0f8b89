"""Splits a model into its structure without numbers, and its constants by name.

Constant nodes and the initialisers of nested graphs (`If`, `Loop`, `Scan`) become constants of the
whole model. This requires unique names of values: two branches of an `If` may use one name for two
values, and then one is renamed. When the model is merged, a constant that only one nested graph
reads is stored in that graph again.

https://onnx.ai/onnx/repo-docs/IR.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, numpy_helper

from isslim.compress.errors import GraphNotUnderstood
from isslim.compress.onnx.model.attributes import get_int, set_attribute, subgraphs

Constant = NDArray[np.generic]


@dataclass
class SplitModel:
    """A model while it is being rewritten.

    Attributes:
        structure: without initialisers and Constant nodes.
        constants: by the names under which nodes read them.
    """

    structure: ModelProto
    constants: dict[str, Constant]

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return next(
            (
                entry.version
                for entry in self.structure.opset_import
                if entry.domain in ("", "ai.onnx")
            ),
            1,
        )

    def fresh(self, wish: str) -> str:
        """A new unique name like `wish`."""
        taken = names(self.structure.graph) | self.constants.keys()
        return next(name for name in _numbered(wish) if name not in taken)


def split_constants(model: ModelProto) -> SplitModel:
    """Separates constants from structure; the model is not changed.

    Raises:
        GraphNotUnderstood: for sparse constants.
    """
    structure = ModelProto()
    structure.CopyFrom(model)
    parts = SplitModel(structure, {})
    # Names first: constants of all graphs share one table.
    _name_apart(structure.graph)
    _name_nodes(structure.graph)
    for graph in graphs(structure.graph):
        _collect(graph, parts.constants)
    _annotate_units(parts)
    inputs = [port for port in structure.graph.input if port.name not in parts.constants]
    # Before IR version 4 every initialiser was also listed as an input; no caller means to pass
    # weights.
    replace(structure.graph.input, inputs)
    structure.ir_version = max(structure.ir_version, 4)
    return parts


def merge_constants(parts: SplitModel) -> ModelProto:
    """The model with its constants where they are read; unused ones are left out."""
    model = ModelProto()
    model.CopyFrom(parts.structure)
    readers: dict[str, list[GraphProto]] = {}
    for graph in graphs(model.graph):
        read = {name for node in graph.node for name in node.input}
        read |= {port.name for port in graph.output}
        for name in read:
            readers.setdefault(name, []).append(graph)
    for name, value in parts.constants.items():
        if name in readers:
            # In the graph of its only reader, as converters do; shared ones in the outermost graph.
            home = readers[name][0] if len(readers[name]) == 1 else model.graph
            home.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
    return model


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and everything nested in it, outer ones first."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def inner_first(graph: GraphProto) -> list[GraphProto]:
    """The graph and everything nested in it, inner ones first.

    Nodes may be replaced in this order, since replacing one copies its nested graphs.
    """
    return list(graphs(graph))[::-1]


def nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """All nodes, nested ones included."""
    for each in graphs(graph):
        yield from each.node


def sort_nodes(graph: GraphProto) -> bool:
    """Sorts the nodes of one graph topologically, as ONNX requires; in place.

    ONNX Runtime sorts by itself, and so converters (such as its own for float16) append nodes that
    earlier ones read. Nodes in a cycle stay where they are.

    Returns:
        Whether any had to move.
    """
    waiting = list(graph.node)
    made = {name: index for index, node in enumerate(waiting) for name in node.output if name}
    needs = [
        {made[name] for name in {*node.input} | _read_inside(node) if name in made}
        for node in waiting
    ]
    rounds = _rounds(needs)
    if rounds is None:
        return False
    order = sorted(range(len(waiting)), key=lambda index: (rounds[index], index))
    if order == sorted(order):
        return False
    replace(graph.node, [waiting[index] for index in order])
    return True


def _rounds(needs: Sequence[set[int]]) -> list[int] | None:
    """In which round each node is ready, where each round goes through the nodes once, in order.

    A sorted file needs one round, so that it stays as it is.

    Args:
        needs: per node those whose values it reads.

    Returns:
        A round for each; None where nodes wait for each other.
    """
    readers: list[list[int]] = [[] for _ in needs]
    for index, needed in enumerate(needs):
        for other in needed:
            readers[other].append(index)
    left = [len(needed) for needed in needs]
    rounds = [0] * len(needs)
    ready = [index for index, count in enumerate(left) if not count]
    for index in ready:  # grows on the way
        for reader in readers[index]:
            rounds[reader] = max(rounds[reader], rounds[index] + (index > reader))
            left[reader] -= 1
            if not left[reader]:
                ready.append(reader)
    return rounds if len(ready) == len(needs) else None


def _read_inside(node: NodeProto) -> set[str]:
    """Values that the graphs in a node read; an output of one may be an outer value itself."""
    read: set[str] = set()
    for inner in subgraphs(node):
        for each in graphs(inner):
            read |= {port.name for port in each.output}
            for reader in each.node:
                read.update(reader.input)
    return read


def names(graph: GraphProto) -> set[str]:
    """Every value's name, nested ones included."""
    found: set[str] = set()
    for each in graphs(graph):
        found |= {port.name for port in (*each.input, *each.output)}
        for node in each.node:
            found |= {*node.input, *node.output}
    return found


def label(node: NodeProto) -> str:
    """A label for a node: its name, or that of its first output."""
    return node.name or next(filter(None, node.output), node.op_type)


def given(node: NodeProto, index: int) -> str:
    """Name of an input, empty when it is omitted.

    Args:
        node: the reader.
        index: of its input; optional ones at the end may be missing altogether.
    """
    return node.input[index] if index < len(node.input) else ""


def set_input(node: NodeProto, index: int, name: str) -> None:
    """Sets an input, with omitted optional ones before it if necessary.

    Args:
        node: the reader; changed in place.
        index: of its input.
        name: the value that it reads.
    """
    while len(node.input) <= index:
        node.input.append("")
    node.input[index] = name


def replace(field: object, items: Sequence[object]) -> None:
    """Replaces the content of a repeated field.

    Args:
        field: a repeated field of protobuf.
        items: its new content; may be its own messages, which are copied before it is cleared.
    """
    # Messages of the field itself die when it is cleared.
    copies = [_copied(item) for item in items]
    del field[:]  # type: ignore[attr-defined]
    field.extend(copies)  # type: ignore[attr-defined]


def _copied(item: object) -> object:
    if isinstance(item, str):
        return item
    copy = type(item)()
    copy.CopyFrom(item)  # type: ignore[attr-defined]
    return copy


def _numbered(wish: str) -> Iterator[str]:
    yield wish
    number = 1
    while True:
        yield f"{wish}_{number}"
        number += 1


def _name_apart(graph: GraphProto) -> None:
    """Renames values of nested graphs whose names other graphs have defined."""
    counts = Counter(name for each in graphs(graph) for name in _defined(each))
    taken = names(graph) | {t.name for each in graphs(graph) for t in each.initializer}
    for inner in list(graphs(graph))[1:]:
        for name in _defined(inner):
            if counts[name] > 1:
                new = next(each for each in _numbered(name) if each not in taken)
                taken.add(new)
                # The last one keeps the name, to rename as little as possible.
                counts[name] -= 1
                _rename(inner, name, new)


def _name_nodes(graph: GraphProto) -> None:
    """Gives every node a unique name, which stays when its outputs are renamed."""
    taken: set[str] = set()
    for node in nodes(graph):
        # Names may be missing or equal: ONNX requires neither.
        node.name = next(name for name in _numbered(label(node)) if name not in taken)
        taken.add(node.name)


def _annotate_units(parts: SplitModel) -> None:
    """Sets the number of units where a recurrent node leaves it to its matrix R (D, G H, H)."""
    for node in nodes(parts.structure.graph):
        if node.op_type not in ("LSTM", "GRU", "RNN"):
            continue
        matrix = parts.constants.get(given(node, 2))
        if matrix is not None and matrix.ndim == 3 and not get_int(node, "hidden_size", 0):
            set_attribute(node, "hidden_size", matrix.shape[2])


def _defined(graph: GraphProto) -> list[str]:
    """Names of the values that a graph itself defines."""
    made = [port.name for port in graph.input]
    for node in graph.node:
        made += filter(None, node.output)
    # Old files list initialisers among the inputs: one definition, not two.
    known = set(made)
    return made + [tensor.name for tensor in graph.initializer if tensor.name not in known]


def _rename(graph: GraphProto, old: str, new: str) -> None:
    for each in graphs(graph):
        if each is not graph and old in _defined(each):
            continue  # a definition of its own, which is renamed by itself
        for node in each.node:
            replace(node.input, [new if name == old else name for name in node.input])
            replace(node.output, [new if name == old else name for name in node.output])
        for thing in (*each.input, *each.output, *each.initializer, *each.value_info):
            if thing.name == old:
                thing.name = new


def _collect(graph: GraphProto, constants: dict[str, Constant]) -> None:
    """Moves initialisers and Constant nodes of one graph into `constants`."""
    if graph.sparse_initializer:
        raise GraphNotUnderstood(
            f"the graph '{graph.name}' holds sparse constants, which are not understood"
        )
    for tensor in graph.initializer:
        constants[tensor.name] = numpy_helper.to_array(tensor)
    del graph.initializer[:]
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            constants[node.output[0]] = _value(node)
    left = [node for node in graph.node if not (node.output and node.output[0] in constants)]
    replace(graph.node, left)


def _value(node: NodeProto) -> Constant:
    """The value of a Constant node."""
    found = node.attribute[0]
    if found.name == "value":
        return numpy_helper.to_array(found.t)
    kinds = {"float": np.float32, "int": np.int64, "string": object}
    kind = kinds.get(found.name.removeprefix("value_").removesuffix("s"))
    if kind is None or not found.name.startswith("value_"):
        raise GraphNotUnderstood(
            f"the constant '{label(node)}' is given as '{found.name}', which is not understood"
        )
    return np.array(onnx.helper.get_attribute_value(found), kind)
