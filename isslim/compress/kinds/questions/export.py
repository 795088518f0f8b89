"""Writes BiDAF as a question graph of `isslim/runtime/contract.py`.

    characters -> Gather -> Conv -> max -.                                         .-> start
    vectors -----------------------------+-> highway -> LSTMs -> attention -> LSTMs +-> LSTMs -> end

Every direction of every LSTM is an operator of its own, since the two may have lost different
units; ONNX Runtime reverses the backward one within each text's length. The contextual LSTM occurs
twice, with one set of weights. A narrow layer before an LSTM is a product of its own; its bias c
moves into the bias of the gates, which becomes b + A c.

Only products with two-dimensional weights gain from 8 bits: the LSTMs' and the highways'. The names
of all others keep them in float32 (see `quantize`).

Two sums have another order than in the network, to save a pass over (B, T, J): the attention's
question part is added to the context's side of the product, (h * w_both + w_question) u. Its
context part does not change a softmax over the question's tokens, and is added only to the largest
score over them.

Legend: B batch, T tokens of the context, J of the question, W characters of a word, E word vector,
F filters, D both directions of an LSTM, N = T B or J B words. Functions that build both sides use T
for the question, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from isslim.compress.export.drawing import GraphBlueprint, array, model_of, port
from isslim.compress.export.node_roles import NodeRole
from isslim.compress.export.recurrent import OPERATORS, operator_weights
from isslim.compress.export.streaming import Floats
from isslim.compress.export.write_graph import check_size, write_graph
from isslim.compress.kinds.questions.networks.axes import LSTMS, BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import NEVER, Bidaf
from isslim.compress.kinds.questions.networks.bidirectional import DIRECTIONS
from isslim.compress.layers.recurrent import PARAMETERS
from isslim.runtime.contract import (
    CHARACTERS,
    CONTEXT,
    END_LOG_PROBS,
    END_TOTALS,
    OF_EACH,
    QUESTION,
    START_LOG_PROBS,
    START_TOTALS,
    VECTORS,
)
from isslim.runtime.questions.question_tokenizer import CONVOLUTION_WIDTH, PADDING

_INT64_MAX = np.iinfo(np.int64).max
_CONSTANTS: dict[str, list[int]] = {
    "zero": [0],
    "one": [1],
    "last": [-1],
    "behind_first": [CONVOLUTION_WIDTH],
    "largest": [_INT64_MAX],
    "rows": [-1],
    "padding_id": [PADDING],
    "one_before": [0, 1, 0, 0],
}


def export(network: Bidaf, path: Path) -> None:
    """Writes `network` as one ONNX file, weights in float32.

    Args:
        network: the model.
        path: the file to write; replaced when it exists, and only once the new one is whole.

    Raises:
        TooLargeToExport: a `ValueError`; see `isslim.compress.export.write_graph.check_size`.
    """
    check_size(network)
    write_graph(build_bidaf(network), path)


def build_bidaf(network: Bidaf) -> GraphBlueprint:
    """Builds the graph of a BiDAF network."""
    return GraphBlueprint(_structure(network.spec), lambda: _weights(network))


def _structure(spec: BidafSpec) -> onnx.ModelProto:
    nodes = [
        *_side(CONTEXT, spec),
        *_side(QUESTION, spec),
        *_attention(),
        *_recurrent("modelling0", "joined", CONTEXT, spec),
        *_recurrent("modelling1", "modelling0", CONTEXT, spec),
        _node(
            "MatMul", ["joined", "heads_joined"], "of_joined", NodeRole.FLOAT32.node_name("heads")
        ),  # (T, B, 2)
        helper.make_node(
            "Split", ["of_joined"], ["start_of_joined", "end_of_joined"], axis=-1, num_outputs=2
        ),
        *_head("start", "modelling1", START_LOG_PROBS, START_TOTALS),
        *_pooled(),
        *_recurrent("output", "beside_output", CONTEXT, spec),
        *_head("end", "output", END_LOG_PROBS, END_TOTALS),
    ]
    inputs, floats = [], TensorProto.FLOAT
    for side, steps, characters in ((CONTEXT, "T", "W"), (QUESTION, "J", "question_W")):
        inputs += [
            port(side + VECTORS, floats, [steps, "B", spec.vectors]),
            port(side + CHARACTERS, TensorProto.INT64, [steps, "B", characters]),
            port(side + OF_EACH, TensorProto.INT32, ["B"]),
        ]
    outputs = [port(name, floats, ["B", "T"]) for name in (START_LOG_PROBS, END_LOG_PROBS)]
    outputs += [port(name, floats, ["B"]) for name in (START_TOTALS, END_TOTALS)]
    values = [numpy_helper.from_array(np.array(value), name) for name, value in _CONSTANTS.items()]
    values += [
        numpy_helper.from_array(np.array(NEVER, np.float32), "never"),
        numpy_helper.from_array(np.array(0, np.float32), "nothing"),
        numpy_helper.from_array(np.array(0), "first_step"),
        numpy_helper.from_array(np.array(1), "each_step"),
    ]
    return model_of(helper.make_graph(nodes, "answer", inputs, outputs, values))


def _side(side: str, spec: BidafSpec) -> list[NodeProto]:
    """The context or the question, up to the contextual LSTM."""
    vectors = side + VECTORS
    return [
        *_token_mask(side),
        *_character_features(side),
        _node("Concat", [f"{side}_spelt", vectors], f"{side}_words_0", axis=-1),  # (T, B, F + E)
        *_highway(side, 0, spec.word),
        *_highway(side, 1, spec.word),
        *_recurrent("contextual", f"{side}_words_2", side, spec, f"{side}_encoded"),
        _node("Transpose", [f"{side}_encoded"], f"{side}_by_text", perm=[1, 0, 2]),  # (B, T, D)
    ]


def _token_mask(side: str) -> list[NodeProto]:
    """True at tokens, false at padding: bool (B, T)."""
    return [
        _node("Shape", [side + VECTORS], f"{side}_steps", start=0, end=1),  # [T]
        _node("Squeeze", [f"{side}_steps", "zero"], f"{side}_end"),
        _node("Range", ["first_step", f"{side}_end", "each_step"], f"{side}_numbers"),  # (T,)
        _node("Cast", [side + OF_EACH], f"{side}_long_lengths", to=TensorProto.INT64),
        _node("Unsqueeze", [f"{side}_long_lengths", "one"], f"{side}_ends"),  # (B, 1)
        _node("Less", [f"{side}_numbers", f"{side}_ends"], f"{side}_real"),  # (B, T)
    ]


def _character_features(side: str) -> list[NodeProto]:
    """The character CNN with its maximum over the windows inside each word: (T, B, F).

    The first window always counts, as in the network; any other if its last character is not
    padding.
    """
    ids = side + CHARACTERS
    return [
        _node("Shape", [ids], f"{side}_of_word", start=2, end=3),  # [W]
        _node("Concat", ["rows", f"{side}_of_word"], f"{side}_flat", axis=0),  # [-1, W]
        _node("Reshape", [ids, f"{side}_flat"], f"{side}_ids"),  # (N, W)
        _node(
            "Gather",
            ["characters", f"{side}_ids"],
            f"{side}_looked_up",
            NodeRole.FLOAT32.node_name(f"{side}_characters"),
        ),  # (N, W, C)
        _node("Transpose", [f"{side}_looked_up"], f"{side}_channels", perm=[0, 2, 1]),  # (N, C, W)
        _node(
            "Conv", [f"{side}_channels", "convolution", "convolution_bias"], f"{side}_seen"
        ),  # (N, F, W - 4)
        _node(
            "Slice", [f"{side}_ids", "behind_first", "largest", "one"], f"{side}_last_of"
        ),  # (N, W - 5)
        *_penalty(f"{side}_last_of", "padding_id", f"{side}_of_others"),
        _node("Pad", [f"{side}_of_others", "one_before"], f"{side}_of_each"),  # (N, W - 4)
        _node("Unsqueeze", [f"{side}_of_each", "one"], f"{side}_of_filters"),  # (N, 1, W - 4)
        _node("Add", [f"{side}_seen", f"{side}_of_filters"], f"{side}_inside"),
        _node("ReduceMax", [f"{side}_inside", "last"], f"{side}_largest", keepdims=0),  # (N, F)
        _node("Relu", [f"{side}_largest"], f"{side}_filters"),
        _node("Shape", [ids], f"{side}_steps_and_batch", start=0, end=2),  # [T, B]
        _node(
            "Concat", [f"{side}_steps_and_batch", "rows"], f"{side}_unflat", axis=0
        ),  # [T, B, -1]
        _node("Reshape", [f"{side}_filters", f"{side}_unflat"], f"{side}_spelt"),  # (T, B, F)
    ]


def _penalty(values: str, wrong: str, made: str) -> list[NodeProto]:
    """`NEVER` where a value is `wrong`, else zero.

    Added to a tensor it masks it. A `Where` on the larger tensor takes several times as long, and
    the sum is exact too: zero changes nothing, and `NEVER` absorbs any other number in float32.
    """
    return [
        _node("Equal", [values, wrong], f"{made}_wrong"),
        _node("Where", [f"{made}_wrong", "never", "nothing"], made),
    ]


def _highway(side: str, layer: int, width: int) -> list[NodeProto]:
    """`x + g * (relu(t) - x)`; both matrices in one product."""
    own = NodeRole.HIGHWAY.node_name(str(layer), prefix=side)
    below = f"{side}_words_{layer}"
    return [
        _node("MatMul", [below, f"highway_{layer}"], f"{own}_product", own),  # (T, B, 2 D)
        _node("Add", [f"{own}_product", f"highway_bias_{layer}"], f"{own}_both"),
        helper.make_node(
            "Split", [f"{own}_both"], [f"{own}_new", f"{own}_gate"], axis=-1, num_outputs=2
        ),
        _node("Relu", [f"{own}_new"], f"{own}_transformed"),
        _node("Sigmoid", [f"{own}_gate"], f"{own}_open"),
        _node("Sub", [f"{own}_transformed", below], f"{own}_difference"),
        _node("Mul", [f"{own}_open", f"{own}_difference"], f"{own}_moved"),
        _node("Add", [below, f"{own}_moved"], f"{side}_words_{layer + 1}"),
    ]


def _recurrent(
    lstm: str, below: str, side: str, spec: BidafSpec, output: str | None = None
) -> list[NodeProto]:
    """Both directions of an LSTM, (T, B, I) to (T, B, D), behind its narrow layer."""
    made, units = output or lstm, getattr(spec, lstm)
    nodes = list[NodeProto]()
    if spec.rank(lstm):
        name = NodeRole.RECURRENT.node_name(f"input_narrow_{made}")
        nodes.append(_node("MatMul", [below, f"narrow_{lstm}"], f"{made}_narrow", name))
        below = f"{made}_narrow"  # (T, B, K)
    for direction, operator, size in zip(DIRECTIONS, ("forward", "reverse"), units, strict=True):
        weights = [
            f"{kind}_{lstm}_{direction}" for kind in ("input_weight", "recurrent_weight", "bias")
        ]
        own = f"{made}_{direction}"
        nodes += [
            _node(
                "LSTM",
                [below, *weights, side + OF_EACH],
                f"{own}_steps",
                own,
                hidden_size=size,
                direction=operator,
            ),
            _node("Squeeze", [f"{own}_steps", "one"], own),  # (T, 1, B, H) -> (T, B, H)
        ]
    return [
        *nodes,
        _node("Concat", [f"{made}_{direction}" for direction in DIRECTIONS], made, axis=-1),
    ]


def _attention() -> list[NodeProto]:
    """`joined` (T, B, 4 D): h, u~, h * u~, h * h~."""
    h, u, encoded = f"{CONTEXT}_by_text", f"{QUESTION}_by_text", f"{CONTEXT}_encoded"
    return [
        _node("Mul", [h, "attention_both"], "weighed"),
        _node("Add", ["weighed", "attention_question"], "asking"),  # (B, T, D)
        _node("Transpose", [f"{QUESTION}_encoded"], "asked", perm=[1, 2, 0]),  # (B, D, J)
        _node("MatMul", ["asking", "asked"], "all_scores"),  # (B, T, J)
        _node("Where", [f"{QUESTION}_real", "nothing", "never"], "of_question"),  # (B, J)
        _node("Unsqueeze", ["of_question", "one"], "of_questions"),  # (B, 1, J)
        _node("Add", ["all_scores", "of_questions"], "scores"),
        _node("Softmax", ["scores"], "shares", axis=-1),
        _node("MatMul", ["shares", u], "attended_by_text"),  # (B, T, D)
        _node("Transpose", ["attended_by_text"], "attended", perm=[1, 0, 2]),
        _node("ReduceMax", ["scores", "last"], "most_of_question", keepdims=0),  # (B, T)
        _node(
            "MatMul",
            [h, "attention_context"],
            "of_context_column",
            NodeRole.FLOAT32.node_name("attention"),
        ),  # (B, T, 1)
        _node("Squeeze", ["of_context_column", "last"], "of_context"),
        _node("Add", ["most_of_question", "of_context"], "most_anywhere"),
        _node("Where", [f"{CONTEXT}_real", "most_anywhere", "never"], "most"),
        _node("Softmax", ["most"], "context_shares", axis=-1),
        *_weighted_sum("context_shares", h, "context_pooled"),
        _node("Mul", [encoded, "attended"], "encoded_attended"),
        _node("Mul", [encoded, "context_pooled"], "encoded_pooled"),
        _node(
            "Concat", [encoded, "attended", "encoded_attended", "encoded_pooled"], "joined", axis=-1
        ),
    ]


def _pooled() -> list[NodeProto]:
    """`beside_output`: joined, m1, a, m1 * a; a is m1 summed with the start's probabilities."""
    return [
        _node("Exp", [START_LOG_PROBS], "start_probabilities"),  # (B, T)
        _node("Transpose", ["modelling1"], "modelled_by_text", perm=[1, 0, 2]),  # (B, T, D)
        *_weighted_sum("start_probabilities", "modelled_by_text", "start_pooled"),
        _node("Mul", ["modelling1", "start_pooled"], "modelled_pooled"),
        _node("Shape", ["modelling1"], "modelled_shape"),
        _node("Expand", ["start_pooled", "modelled_shape"], "pooled_everywhere"),  # (T, B, D)
        _node(
            "Concat",
            ["joined", "modelling1", "pooled_everywhere", "modelled_pooled"],
            "beside_output",
            axis=-1,
        ),
    ]


def _weighted_sum(shares: str, values: str, made: str) -> list[NodeProto]:
    """The sum of values (B, T, D) weighted by shares (B, T): (1, B, D)."""
    return [
        _node("Unsqueeze", [shares, "one"], f"{made}_row"),  # (B, 1, T)
        _node("MatMul", [f"{made}_row", values], f"{made}_by_text"),  # (B, 1, D)
        _node("Transpose", [f"{made}_by_text"], made, perm=[1, 0, 2]),
    ]


def _head(head: str, own: str, log_probs: str, totals: str) -> list[NodeProto]:
    """A head's log-softmax over the tokens, and its logarithm of the sum of exponentials.

    The logits are those of `own` (T, B, D) plus those of `joined`.
    """
    return [
        _node(
            "MatMul", [own, f"{head}_weight"], f"{head}_of_own", NodeRole.FLOAT32.node_name(head)
        ),  # (T, B, 1)
        _node("Add", [f"{head}_of_own", f"{head}_of_joined"], f"{head}_unbiased"),
        _node("Add", [f"{head}_unbiased", f"{head}_bias"], f"{head}_column"),
        _node("Squeeze", [f"{head}_column", "last"], f"{head}_steps"),  # (T, B)
        _node("Transpose", [f"{head}_steps"], f"{head}_everywhere", perm=[1, 0]),
        _node(
            "Where", [f"{CONTEXT}_real", f"{head}_everywhere", "never"], f"{head}_logits"
        ),  # (B, T)
        _node("LogSoftmax", [f"{head}_logits"], log_probs, axis=-1),
        _node("ReduceMax", [f"{head}_logits", "last"], f"{head}_largest", keepdims=0),  # (B,)
        _node("ReduceMax", [log_probs, "last"], f"{head}_likeliest", keepdims=0),
        _node("Sub", [f"{head}_largest", f"{head}_likeliest"], totals),
    ]


def _weights(network: Bidaf) -> Iterator[tuple[str, Floats]]:
    """The tensors of the graph, one at a time; matrices of a MatMul are stored as (in, out)."""
    yield "characters", array(network.characters.weight)  # (A, C)
    yield "convolution", array(network.convolution.weight)  # (F, C, 5)
    yield "convolution_bias", array(network.get_parameter("convolution.bias"))
    for layer in range(len(network.highways)):
        parts = [f"highways.{layer}.{part}" for part in ("transform", "gate")]
        both = [array(network.get_parameter(f"{part}.weight")) for part in parts]
        yield f"highway_{layer}", np.concatenate(both).T  # (D, 2 D)
        yield (
            f"highway_bias_{layer}",
            np.concatenate([array(network.get_parameter(f"{part}.bias")) for part in parts]),
        )
    for lstm in LSTMS:
        yield from _lstm_weights(network.get_submodule(lstm), lstm)
    context, question, both_sides = array(network.attention.weight).reshape(3, -1)
    yield "attention_context", context[:, None]  # (D, 1)
    yield "attention_question", question
    yield "attention_both", both_sides
    start, end = array(network.start.weight).T, array(network.end.weight).T  # (D + 4 D', 1)
    modelled, output = sum(network.spec.modelling1), sum(network.spec.output)
    yield "start_weight", start[:modelled]
    yield "end_weight", end[:output]
    yield "heads_joined", np.concatenate([start[modelled:], end[output:]], axis=1)  # (4 D', 2)
    yield "start_bias", array(network.start.bias)
    yield "end_bias", array(network.end.bias)


def _lstm_weights(lstm: nn.Module, name: str) -> Iterator[tuple[str, Floats]]:
    """Those of both directions and of the narrow layer before them, if there is one."""
    narrow = dict(lstm.named_children()).get("narrow")
    if narrow is not None:
        yield f"narrow_{name}", array(narrow.get_parameter("weight")).T  # (I, K)
    for direction in DIRECTIONS:
        layer = lstm.get_submodule(f"{direction}s")
        matrix, across, bias, other = (array(layer.get_parameter(each)) for each in PARAMETERS)
        if narrow is not None:
            bias = bias + matrix @ array(narrow.get_parameter("bias"))
        yield from operator_weights(
            [matrix, across, bias, other], OPERATORS["lstm"], f"{name}_{direction}"
        )


def _node(
    operator: str, inputs: list[str], output: str, name: str | None = None, **attributes: Any
) -> NodeProto:
    """A node of one output."""
    return helper.make_node(operator, inputs, [output], name=name or "", **attributes)
