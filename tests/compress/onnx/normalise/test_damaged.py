"""Damaged graphs: refused in words, or understood; and where they still run, cut rightly."""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, numpy_helper

from isslim.compress.errors import CompressError
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from tests.compress.onnx.proving import cut, run, some
from tests.compress.onnx.stacks import Stack

OPERATORS = ["Add", "Transpose", "Squeeze", "Concat", "Softmax", "Relu", "Flatten", "CumSum", "Sum"]


def damage(model: ModelProto, rng: np.random.Generator) -> None:
    """Changes one number, one shape, one edge or one operator."""
    way = rng.integers(5)
    node = model.graph.node[rng.integers(len(model.graph.node))]
    if way == 0:
        tensors = [
            t
            for t in model.graph.initializer
            if t.data_type == TensorProto.INT64 and np.prod(t.dims) > 0
        ]
        if tensors:
            tensor = tensors[rng.integers(len(tensors))]
            value = numpy_helper.to_array(tensor).copy()
            value.reshape(-1)[rng.integers(value.size)] = rng.integers(-3, 8)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    elif way == 1:
        found = [
            a
            for each in model.graph.node
            for a in each.attribute
            if a.type == AttributeProto.INT or a.ints
        ]
        attribute = found[rng.integers(len(found))]
        if attribute.type == AttributeProto.INT:
            attribute.i = int(rng.integers(-3, 6))
        else:
            attribute.ints[rng.integers(len(attribute.ints))] = int(rng.integers(-3, 6))
    elif way == 2:
        tensors = [
            t
            for t in model.graph.initializer
            if t.data_type == TensorProto.FLOAT and len(t.dims) > 0
        ]
        tensor = tensors[rng.integers(len(tensors))]
        value = numpy_helper.to_array(tensor)
        axis = rng.integers(value.ndim)
        chosen = np.arange(rng.integers(0, value.shape[axis] + 2)) % value.shape[axis]
        tensor.CopyFrom(numpy_helper.from_array(np.take(value, chosen, axis=axis), tensor.name))
    elif way == 3 and len(node.input) > 1:
        other = model.graph.node[rng.integers(len(model.graph.node))]
        node.input[rng.integers(len(node.input))] = other.output[0]
    elif way == 4:
        node.op_type = OPERATORS[rng.integers(len(OPERATORS))]


def runs(stack: Stack) -> bool:
    """Whether ONNX Runtime computes the graph; its errors have no class in common but Exception."""
    try:
        run(stack.model, stack.feeds)
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        return False
    return True


def test_a_damaged_graph_is_refused_in_words_or_understood() -> None:
    counts = {"refused": 0, "never runs": 0, "runs": 0}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        stack = Stack(lambda _, options, rng=rng: options[rng.integers(len(options))], seed)
        damage(stack.model, rng)
        try:
            network = GraphNetwork.from_model(simplified(stack.model))
        except CompressError:
            counts["refused"] += 1
            continue
        if not runs(stack):
            counts["never runs"] += 1
            continue
        keep = some(network, seed)
        given, made = (
            run(cut(network, keep).model(), stack.feeds),
            run(network.masked_reference(keep), stack.feeds),
        )
        for name in made:
            np.testing.assert_allclose(given[name], made[name], rtol=1e-5, atol=1e-5)
        counts["runs"] += 1
    assert min(counts.values()) > 15, counts
