"""The parts that every scoring graph shares: ports, decoder, log-softmax, choice of the targets.

The ports are those of `isslim/runtime/contract.py`. The decoder is a Gemm that reads its matrix as
(V, H), the layout of an embedding: a tied model stores its one matrix once, without a transposed
copy.

Legend: B batch, T steps, V vocabulary, H units of a state or of the last layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from isslim.compress.export.drawing import array, model_of, port
from isslim.compress.export.node_roles import NodeRole
from isslim.compress.export.streaming import Floats
from isslim.runtime.contract import (
    LENGTHS,
    LOG_PROBS,
    POSITIONS,
    STATE_OUT,
    TARGETS,
    TOKEN_LOG_PROBS,
    TOKENS,
)


@dataclass(frozen=True)
class ScoringHead:
    """What lies between the last recurrent layer and the scores.

    Attributes:
        top: the name of the last layer's output, (T, B, H).
        width: H.
        vocabulary: V.
        tied: whether the decoder's matrix is `embedding`, and not `decoder`; its bias is
            `decoder_bias`.
        narrow: whether `top` goes through `bottleneck` and `bottleneck_bias` first.
    """

    top: str
    width: int
    vocabulary: int
    tied: bool
    narrow: bool = False


def scoring_graph(
    body: list[NodeProto], states: Mapping[str, int], head: ScoringHead
) -> onnx.ModelProto:
    """Builds the model around its recurrent part, without the weights.

    Args:
        body: nodes that compute `head.top`, and `<state>_out` of every state, from `tokens` and
            `lengths`.
        states: names and widths of the states.
        head: bottleneck and decoder.
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
        "rows": [-1, head.width],
        "vocabulary": [head.vocabulary],
    }
    nodes = [*body, *_head(head)]
    used = {name for node in nodes for name in node.input}
    initializers = [
        numpy_helper.from_array(np.array(value), name)
        for name, value in constants.items()
        if name in used
    ]
    return model_of(helper.make_graph(nodes, "score", inputs, outputs, initializers))


def embedding_and_decoder_tensors(
    embedding: nn.Embedding, decoder: nn.Linear, *, tied: bool
) -> Iterator[tuple[str, Floats]]:
    """Yields names and values of the tensors of embedding and decoder, one at a time.

    Args:
        embedding: (V, E).
        decoder: (V, H) and its bias (V,).
        tied: whether both share one matrix, which is then yielded once.
    """
    yield "embedding", array(embedding.weight)  # (V, E)
    if not tied:
        yield "decoder", array(decoder.weight)  # (V, H)
    yield "decoder_bias", array(decoder.bias)  # (V,)


def _head(head: ScoringHead) -> list[NodeProto]:
    """Bottleneck, decoder, log-softmax, log-probabilities of the targets and at the positions.

    The decoder works on (T B, H): a Gemm is of two dimensions, and adds the bias in the same pass.
    The whole log-softmax (T, B, V), which takes most of the memory, is no output of the graph:
    ONNX Runtime could not reuse the buffer of an output. In the int8 form, where no Reshape lies
    between, it is written over the logits.
    """
    decoder = ["embedding" if head.tied else "decoder", "decoder_bias"]
    node, flattening = helper.make_node, NodeRole.FLATTENING.node_name
    read = "narrow" if head.narrow else "features"
    bottleneck = ["features", "bottleneck", "bottleneck_bias"]
    return [
        node("Reshape", [head.top, "rows"], ["features"], name=flattening("features")),  # (T B, H)
        *(
            [node("Gemm", bottleneck, ["narrow"], name=NodeRole.BOTTLENECK.node_name(), transB=1)]
            if head.narrow
            else []
        ),  # (T B, K)
        node(
            "Gemm", [read, *decoder], ["flat_logits"], name=NodeRole.DECODER.node_name(), transB=1
        ),  # (T B, V)
        node("Shape", [TOKENS], ["steps"], name=flattening("steps")),  # [T, B]
        node(
            "Concat", ["steps", "vocabulary"], ["shape"], axis=0, name=flattening("shape")
        ),  # [T, B, V]
        node(
            "Reshape", ["flat_logits", "shape"], ["logits"], name=flattening("logits")
        ),  # (T B, V) -> (T, B, V)
        node("LogSoftmax", ["logits"], ["all_log_probs"], axis=-1),
        node("Unsqueeze", [TARGETS, "last"], ["columns"]),  # (T, B) -> (T, B, 1)
        node("GatherElements", ["all_log_probs", "columns"], ["picked"], axis=-1),
        node("Squeeze", ["picked", "last"], [TOKEN_LOG_PROBS]),  # (T, B, 1) -> (T, B)
        node("GatherND", ["all_log_probs", POSITIONS], [LOG_PROBS]),  # (R, V)
    ]
