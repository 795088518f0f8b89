"""What every scoring graph shares: the ports of `isslim/runtime/contract.py`, decoder, log-softmax and the targets' choice.

The decoder is a Gemm that reads its matrix as (V, H), which is how an embedding lies: a tied model
stores its one matrix once, and needs no transposed copy of it.

Legend: B batch, T steps, V vocabulary, H units of a state or of the last layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
    PLACES,
    STATE_OUT,
    TARGETS,
    TOKEN_LOG_PROBS,
    TOKENS,
)


def scoring_graph(
    body: list[NodeProto],
    top: str,
    width: int,
    vocabulary: int,
    states: Mapping[str, int],
    *,
    tied: bool,
    narrow: bool = False,
) -> onnx.ModelProto:
    """The model without its weights, around the recurrent part.

    Args:
        body: nodes from `tokens` and `lengths` to `top`, which also make `<state>_out` of every
            state.
        top: the last layer's output (T, B, H).
        width: H of `top`.
        vocabulary: V.
        states: names and widths of the states.
        tied: whether the decoder reads with `embedding` (else with `decoder`); its bias is
            `decoder_bias`.
        narrow: whether it reads `top` through `bottleneck` and `bottleneck_bias`.
    """
    inputs = [
        port(TOKENS, TensorProto.INT64, ["T", "B"]),
        port(TARGETS, TensorProto.INT64, ["T", "B"]),
        port(LENGTHS, TensorProto.INT32, ["B"]),
        port(PLACES, TensorProto.INT64, ["R", 2]),
    ]
    outputs = [
        port(TOKEN_LOG_PROBS, TensorProto.FLOAT, ["T", "B"]),
        port(LOG_PROBS, TensorProto.FLOAT, ["R", vocabulary]),
    ]
    for name, units in states.items():
        inputs.append(port(name, TensorProto.FLOAT, [1, "B", units]))
        outputs.append(port(name + STATE_OUT, TensorProto.FLOAT, [1, "B", units]))
    constants = {
        "zero": [0],
        "one": [1],
        "last": [-1],
        "rows": [-1, width],
        "vocabulary": [vocabulary],
    }
    nodes = [*body, *_head(top, tied=tied, narrow=narrow)]
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
    """The tensors of embedding and decoder."""
    yield "embedding", array(embedding.weight)  # (V, E)
    if not tied:
        yield "decoder", array(decoder.weight)  # (V, H)
    yield "decoder_bias", array(decoder.bias)  # (V,)


def _head(top: str, *, tied: bool, narrow: bool) -> list[NodeProto]:
    """Bottleneck if there is one, decoder, log-softmax, and the log-probability of each target and at the places.

    The decoder works on (T B, H): a Gemm is of two dimensions, and adds the bias in the same pass.
    The log-softmax is no output of the graph, over which ONNX Runtime could never write anything:
    in the int8 form, where no Reshape lies between, it takes the place of the logits, and (T, B, V)
    is what most memory goes to.
    """
    decoder = ["embedding" if tied else "decoder", "decoder_bias"]
    node, flattening = helper.make_node, NodeRole.FLATTENING.node_name
    read = "narrow" if narrow else "features"
    bottleneck = ["features", "bottleneck", "bottleneck_bias"]
    return [
        node("Reshape", [top, "rows"], ["features"], name=flattening("features")),  # (T B, H)
        *(
            [node("Gemm", bottleneck, ["narrow"], name=NodeRole.BOTTLENECK.node_name(), transB=1)]
            if narrow
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
        node("GatherND", ["all_log_probs", PLACES], [LOG_PROBS]),  # (R, V)
    ]
