"""The parts that every scoring graph shares: ports, decoder, log-softmax, choice of the targets.

The ports are those of `isslim/runtime/contract.py`. The decoder is a Gemm that reads its matrix as
(V, H), the layout of an embedding: a tied model stores its one matrix once, without a transposed
copy.

A softmax in blocks has a Gemm for each block of rows, with a narrow one before it where the block
has a rank. Its rows lie in an order of their own: targets are looked up in a table of rows, and of
the log-probabilities only those that leave the graph are brought back into the tokens' order.

Legend: B batch, T steps, V vocabulary, H units of a state or of the last layer, K rank, R
positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from isslim.compress.export.drawing import array, model_of, port
from isslim.compress.export.node_roles import NodeRole
from isslim.compress.export.streaming import Floats
from isslim.compress.kinds.language.networks.names import (
    DECODER_BIAS,
    DECODER_WEIGHT,
    EMBEDDING_WEIGHT,
)
from isslim.compress.pruning import blocks
from isslim.compress.pruning.axes import NarrowPlace
from isslim.compress.pruning.narrow import BOTTLENECK
from isslim.runtime.contract import (
    LENGTHS,
    LOG_PROBS,
    POSITIONS,
    STATE_OUT,
    TARGETS,
    TOKEN_LOG_PROBS,
    TOKENS,
)

ROW_OF_TOKEN = "row_of_token"
"""The row of each token of a softmax in blocks, int32 (V,)."""


@dataclass(frozen=True)
class Product:
    """A Gemm of the head with a matrix (outputs, inputs) and a bias (outputs,).

    Attributes:
        name: of the node, with its role.
        matrix: the name of its matrix in the graph.
        bias: the name of its bias in the graph.
        weight: the matrix's name in the network.
        constant: the bias's name in the network.
    """

    name: str
    matrix: str
    bias: str
    weight: str
    constant: str


@dataclass(frozen=True)
class ScoringHead:
    """What lies between the last recurrent layer and the scores.

    Attributes:
        top: the name of the last layer's output, (T, B, H).
        width: H.
        vocabulary: V.
        blocks: the products that lead to each block of logits, one behind the other: a narrow one
            and that of the rows, or the latter alone. A decoder of one matrix is one block.
        row_of_token: where the rows lie in another order than the tokens, the row of each token,
            int32 (V,).
    """

    top: str
    width: int
    vocabulary: int
    blocks: list[list[Product]]
    row_of_token: NDArray[np.int32] | None = field(default=None, compare=False)


def head_of(tensors: Mapping[str, Tensor], top: str, width: int) -> ScoringHead:
    """The head of a network, by the names of its tensors.

    Args:
        tensors: by name; without a matrix of the decoder it is the embedding's.
        top: the name of the last layer's output in the graph, (T, B, H).
        width: H.
    """
    rows = None
    if blocks.ORDER in tensors:
        order = tensors[blocks.ORDER].cpu().numpy().astype(np.int64)
        inverse = np.argsort(order).astype(np.int32)  # of a permutation
        rows = None if np.array_equal(inverse, np.arange(len(order))) else inverse
    return ScoringHead(top, width, len(tensors[EMBEDDING_WEIGHT]), _products(tensors), rows)


def head_tensors(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Floats]]:
    """Names and values of embedding and head in the graph, one at a time.

    Args:
        tensors: of the network, by name; a matrix that embedding and decoder share is yielded once.
    """
    yield "embedding", array(tensors[EMBEDDING_WEIGHT])  # (V, E)
    for product in chain.from_iterable(_products(tensors)):
        if product.weight != EMBEDDING_WEIGHT:
            yield product.matrix, array(tensors[product.weight])  # (V, H), (K, H), (V, K)
        yield product.bias, array(tensors[product.constant])


def _products(tensors: Mapping[str, Tensor]) -> list[list[Product]]:
    """The products that lead to each block of logits."""
    if blocks.ORDER not in tensors:
        tied = DECODER_WEIGHT not in tensors
        weight, matrix = (EMBEDDING_WEIGHT, "embedding") if tied else (DECODER_WEIGHT, "decoder")
        whole = Product(NodeRole.DECODER.node_name(), matrix, "decoder_bias", weight, DECODER_BIAS)
        return [[*_narrow(tensors, BOTTLENECK, ""), whole]]
    found = list[list[Product]]()
    while (weight := blocks.weight_of(len(found))) in tensors:
        index, constant = len(found), blocks.bias_of(len(found))
        name = NodeRole.DECODER.node_name(str(index))
        rows = Product(name, name, f"{name}_bias", weight, constant)
        found.append([*_narrow(tensors, blocks.place_of(index), str(index)), rows])
    return found


def _narrow(tensors: Mapping[str, Tensor], place: NarrowPlace, suffix: str) -> list[Product]:
    """The product of a narrow layer, if there is one at its place."""
    name = NodeRole.BOTTLENECK.node_name(suffix)
    found = Product(name, name, f"{name}_bias", place.weight, place.bias)
    return [found] if place.weight in tensors else []


def scoring_graph(
    body: list[NodeProto], states: Mapping[str, int], head: ScoringHead
) -> onnx.ModelProto:
    """Builds the model around its recurrent part, without the weights.

    Args:
        body: nodes that compute `head.top`, and `<state>_out` of every state, from `tokens` and
            `lengths`.
        states: names and widths of the states.
        head: what turns `head.top` into logits.
    """
    inputs = [
        port(TOKENS, TensorProto.INT64, ["T", "B"]),
        port(TARGETS, TensorProto.INT64, ["T", "B"]),
        port(LENGTHS, TensorProto.INT32, ["B"]),
        port(POSITIONS, TensorProto.INT64, ["R", 2]),
    ]
    outputs = [
        port(TOKEN_LOG_PROBS, TensorProto.FLOAT, ["T", "B"]),
        port(LOG_PROBS, TensorProto.FLOAT, ["R", head.vocabulary]),
    ]
    for name, units in states.items():
        inputs.append(port(name, TensorProto.FLOAT, [1, "B", units]))
        outputs.append(port(name + STATE_OUT, TensorProto.FLOAT, [1, "B", units]))
    constants = {
        "zero": [0],
        "one": [1],
        "last": [-1],
        "first_and_last": [0, -1],
        "rows": [-1, head.width],
        "vocabulary": [head.vocabulary],
        ROW_OF_TOKEN: head.row_of_token,
    }
    nodes = [*body, *_head(head)]
    used = {name for node in nodes for name in node.input}
    initializers = [
        numpy_helper.from_array(np.array(value), name)
        for name, value in constants.items()
        if name in used
    ]
    return model_of(helper.make_graph(nodes, "score", inputs, outputs, initializers))


def _head(head: ScoringHead) -> list[NodeProto]:
    """Decoder, log-softmax, log-probabilities of the targets and at the positions.

    The decoder works on (T B, H): a Gemm is of two dimensions, and adds the bias in the same pass.
    The whole log-softmax (T, B, V), which takes most of the memory, is no output of the graph:
    ONNX Runtime could not reuse the buffer of an output. In the int8 form, where no Reshape lies
    between, it is written over the logits.
    """
    node, flattening = helper.make_node, NodeRole.FLATTENING.node_name
    in_rows = head.row_of_token is not None
    targets, asked = (f"{TARGETS}_rows", f"{LOG_PROBS}_rows") if in_rows else (TARGETS, LOG_PROBS)
    return [
        node("Reshape", [head.top, "rows"], ["features"], name=flattening("features")),  # (T B, H)
        *_logits(head),  # (T B, V)
        node("Shape", [TOKENS], ["steps"], name=flattening("steps")),  # [T, B]
        node(
            "Concat", ["steps", "vocabulary"], ["shape"], axis=0, name=flattening("shape")
        ),  # [T, B, V]
        node(
            "Reshape", ["flat_logits", "shape"], ["logits"], name=flattening("logits")
        ),  # (T B, V) -> (T, B, V)
        node("LogSoftmax", ["logits"], ["all_log_probs"], axis=-1),
        *([node("Gather", [ROW_OF_TOKEN, TARGETS], [targets])] if in_rows else []),
        node("Unsqueeze", [targets, "last"], ["columns"]),  # (T, B) -> (T, B, 1)
        node("GatherElements", ["all_log_probs", "columns"], ["picked"], axis=-1),
        node("Squeeze", ["picked", "last"], [TOKEN_LOG_PROBS]),  # (T, B, 1) -> (T, B)
        node("GatherND", ["all_log_probs", POSITIONS], [asked]),  # (R, V)
        *([node("Gather", [asked, ROW_OF_TOKEN], [LOG_PROBS], axis=1)] if in_rows else []),
    ]


def _logits(head: ScoringHead) -> list[NodeProto]:
    """From `features` (T B, H) to `flat_logits` (T B, V)."""
    nodes, found = list[NodeProto](), list[str]()
    for index, block in enumerate(head.blocks):
        read = "features"
        for product in block:
            inputs, read = [read, product.matrix, product.bias], f"{product.name}_product"
            nodes.append(helper.make_node("Gemm", inputs, [read], name=product.name, transB=1))
        found.append(f"logits_{index}")
        nodes[-1].output[0] = found[-1]
    if len(found) > 1:
        nodes.append(helper.make_node("Concat", found, ["flat_logits"], axis=-1))
    else:
        nodes[-1].output[0] = "flat_logits"
    return nodes
