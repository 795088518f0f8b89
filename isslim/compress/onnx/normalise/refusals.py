"""Refuses unsupported graphs by name, before they are analysed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from isslim.compress.errors import GraphNotUnderstood, UnreadableUpload
from isslim.compress.onnx.model.attributes import subgraphs
from isslim.compress.onnx.model.external_data import tensors
from isslim.compress.onnx.model.recurrent import OPERATORS, P, R, W, view
from isslim.compress.onnx.model.split_model import SplitModel, given, graphs, label, nodes

OPSETS = (9, 28)
"""Oldest and newest version of the standard operators that is read."""
CONVERSION = (
    "import onnx, onnx.version_converter; onnx.save(onnx.version_converter.convert_version("
    "onnx.load('model.onnx'), 17), 'converted.onnx')"
)
"""What makes a file of a version that is read of one that is not."""
_STANDARD = ("", "ai.onnx", "ai.onnx.ml")
_QUANTIZED = {"DynamicQuantizeLSTM", "QLinearLSTM", "QAttention", "QLinearGRU"}
_FROM_QUANTIZED = {"DequantizeLinear"}
MAX_STEPS = 10_000_000
"""Steps of a Loop, and of Loops in it together, that a graph may have by its constants."""
MAX_PARTS = 100_000
"""Constants and nodes; exported graphs have some thousands."""
MESSAGES = 20
"""Messages of a model, such as attributes, that are looked at for each of them."""
_TENSOR_NAME = TensorProto.DESCRIPTOR.fields_by_name["name"]
_NAMED = 8
"""How many operators a refusal names at most."""
_MOVES = {"Cast", "Concat", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}


def refuse_bytes(model: ModelProto) -> None:
    """Refuses a model with a name, or another text, that is none in UTF-8.

    The library that parses it takes any bytes, and gives those that are no text as bytes.

    Raises:
        UnreadableUpload: with the field and what it holds.
    """
    # Models of many more parts are refused for their number.
    for message in islice(_messages(model), MESSAGES * MAX_PARTS):
        for field, value in _fields(message):
            if field.type == _TENSOR_NAME.type:
                odd = next((e for e in _each(field, value) if isinstance(e, bytes)), None)
                if odd is not None:
                    raise UnreadableUpload(
                        f"'{field.name}' of {message.DESCRIPTOR.name} in the graph is no text in "
                        f"UTF-8: {odd[:60]!r}. The file is damaged, or its writer used another "
                        "encoding: export it again"
                    )


def _messages(message: Any) -> Iterator[Any]:
    """A message and all within it."""
    yield message
    for field, value in _fields(message):
        if field.message_type is not None:
            for inner in _each(field, value):
                yield from _messages(inner)


def _fields(message: Any) -> list[tuple[Any, Any]]:
    """The fields that a message has; of a tensor its name alone, since its numbers are copied."""
    if isinstance(message, TensorProto):
        return [(_TENSOR_NAME, message.name)]
    found: list[tuple[Any, Any]] = message.ListFields()
    return found


def _each(field: Any, value: Any) -> Any:
    return value if field.is_repeated else (value,)


def refuse_unreadable(model: ModelProto) -> None:
    """Refuses graphs that cannot be read: custom operators, quantized layers, other opsets.

    Raises:
        GraphNotUnderstood: with all reasons.
    """
    issues = []
    constants = sum(len(graph.initializer) for graph in graphs(model.graph))
    for count, what in ((constants, "constants"), (sum(1 for _ in nodes(model.graph)), "nodes")):
        if count > MAX_PARTS:
            issues.append(f"the graph has {count:,} {what}; at most {MAX_PARTS:,} are read")
    quantized = [node for node in nodes(model.graph) if node.op_type in _QUANTIZED]
    if quantized:
        issues.append(
            f"'{label(quantized[0])}' is a {quantized[0].op_type}: the layer is already quantized; "
            "upload the model from before quantization"
        )
    custom = {
        f"{node.domain}.{node.op_type}"
        for node in nodes(model.graph)
        if node.domain not in _STANDARD and node.op_type not in _QUANTIZED
    }
    if custom:
        issues.append(f"operators of custom domains: {', '.join(sorted(custom))}")
    if any(name.startswith("com.microsoft") for name in custom):
        issues.append(
            "com.microsoft is what ONNX Runtime's optimiser writes: upload the model from before "
            "optimisation, or optimise it with `graph_optimization_level = "
            "GraphOptimizationLevel.ORT_ENABLE_BASIC`, which keeps to standard operators"
        )
    version = next(
        (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None
    )
    # Operators change their meaning between versions; of newer ones it is not known how.
    if version is None or not OPSETS[0] <= version <= OPSETS[1]:
        issues.append(
            f"opset {version}: versions {OPSETS[0]} to {OPSETS[1]} are read. Export the model "
            f"with another one, or convert the file: `{CONVERSION}`"
        )
    if issues:
        raise GraphNotUnderstood("; ".join(issues), issues)


def refuse_odd_tensors(model: ModelProto) -> None:
    """Refuses tensors that are none, which ONNX's checker lets through.

    A tensor has a known type and as many numbers as its sizes say.

    Args:
        model: with all its tensors.

    Raises:
        UnreadableUpload: naming the tensor.
    """
    for tensor in tensors(model):
        try:
            numpy_helper.to_array(tensor)
        # What this raises for types and sizes that do not exist, it does not document.
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableUpload(
                f"the tensor '{tensor.name}' of type {tensor.data_type} and sizes "
                f"{list(tensor.dims)} cannot be read: {error}. The file is damaged: export it again"
            ) from error


def refuse_misfits(model: ModelProto) -> None:
    """Refuses bodies that do not fit, which ONNX's checker lets through.

    A Loop, a Scan and an If give their bodies what these take, and get what they return
    (https://onnx.ai/onnx/operators/onnx__Loop.html).

    Args:
        model: that the checker has passed.

    Raises:
        UnreadableUpload: naming the node.
    """
    for node in nodes(model.graph):
        fault = _misfit(node) if node.domain in _STANDARD else None
        if fault is not None:
            raise UnreadableUpload(
                f"the {node.op_type} '{label(node)}' does not fit its body: {fault}. The file is "
                "damaged: export it again"
            )


def _misfit(node: NodeProto) -> str | None:
    """What does not fit between a node and its bodies, as a clause."""
    taken, returned = 0, len(node.output)
    if node.op_type == "Loop":
        carried = max(len(node.input) - 2, 0)
        taken, returned = 2 + carried, max(1 + carried, 1 + len(node.output))
    elif node.op_type == "Scan":
        taken = len(node.input)
    bodies = subgraphs(node)
    if node.op_type == "If" and len({len(branch.output) for branch in bodies}) > 1:
        return f"its branches have {' and '.join(str(len(each.output)) for each in bodies)} outputs"
    for body in bodies:
        if len(body.input) != taken:
            return f"it gives {taken} inputs, and the body takes {len(body.input)}"
        if len(body.output) < returned:
            return f"it needs {returned} outputs, and the body has {len(body.output)}"
    return None


def refuse_endless(parts: SplitModel) -> None:
    """Refuses loops whose fixed number of steps no run would come to the end of.

    Args:
        parts: the model, its constants folded.

    Raises:
        GraphNotUnderstood: naming the loop.
    """
    waiting: list[tuple[GraphProto, int]] = [(parts.structure.graph, 1)]
    while waiting:
        graph, times = waiting.pop()
        for node in graph.node:
            trips = parts.constants.get(given(node, 0)) if node.op_type == "Loop" else None
            steps = 1 if trips is None or trips.size != 1 else int(trips.reshape(-1)[0])
            if times * steps > MAX_STEPS:
                raise GraphNotUnderstood(
                    f"the Loop '{label(node)}' is to run {steps:,} steps"
                    f"{f', {times:,} times' if times > 1 else ''}; at most {MAX_STEPS:,} are run"
                )
            waiting += [(inner, times * max(steps, 1)) for inner in subgraphs(node)]


def refuse_without_layers(model: ModelProto, loops: Mapping[str, str] | None = None) -> None:
    """Refuses graphs without a recurrent layer to shrink.

    Args:
        model: the graph.
        loops: per Loop in it, why no recurrent operator computes the same, as a clause.

    Raises:
        GraphNotUnderstood: with what there is in its place: quantized layers, a recurrence without
            a recurrent operator, or the operators that were found.
    """
    made_by = {name: node for node in nodes(model.graph) for name in node.output}
    layers = [seen for node in nodes(model.graph) if (seen := view(node))]
    for seen in layers:
        if any(_was_quantized(made_by, seen.given(index)) for index in (W, R, P)):
            raise GraphNotUnderstood(
                f"the weights of '{seen.name}' come out of a DequantizeLinear: the layer is "
                "already quantized; upload the model from before quantization"
            )
    # One layer is enough: what is not followed beside it is left alone later.
    if layers:
        return
    wanted = f"There is no {', '.join(OPERATORS)} node in the graph"
    unrolled = _unrolled(model, loops or {})
    if unrolled:
        raise GraphNotUnderstood(f"{wanted}: {unrolled}")
    operators = Counter(node.op_type for node in nodes(model.graph))
    found = ", ".join(name for name, _ in operators.most_common(_NAMED))
    raise GraphNotUnderstood(
        f"{wanted}, so there are no units to remove; found: {found or 'nothing'}"
    )


def _was_quantized(made_by: Mapping[str, NodeProto], name: str) -> bool:
    """Whether a value comes out of a DequantizeLinear, moved about on the way."""
    seen: set[str] = set()  # the model may be a circle, for nothing has checked it yet
    while name in made_by and name not in seen:
        seen.add(name)
        node = made_by[name]
        if node.op_type in _FROM_QUANTIZED:
            return True
        if node.op_type not in _MOVES:
            return False
        name = given(node, 0)
    return False


def _unrolled(model: ModelProto, loops: Mapping[str, str]) -> str | None:
    """How a recurrence is written without a recurrent node, and what makes one node of it.

    Args:
        model: the graph.
        loops: per Loop why it is no recurrent operator.

    Returns:
        A clause for the refusal; None when there is no recurrence.
    """
    for node in nodes(model.graph):
        inside = {each.op_type for attribute in node.attribute for each in attribute.g.node}
        reason = loops.get(label(node), "") if inside & _PRODUCTS else ""
        if node.op_type in ("Loop", "Scan") and (reason or _is_cell(inside)):
            why = f", and no recurrent operator computes the same: {reason}" if reason else ""
            return (
                f"the {node.op_type} '{label(node)}' holds a recurrent cell that was written out "
                f"step by step{why}. Export the layer so that it is one node, or a Loop that one "
                "node can replace: in Keras LSTM, GRU or SimpleRNN with `unroll=False` and "
                "activations that ONNX's operators have (such as tanh, sigmoid, relu); in PyTorch "
                "nn.LSTM, nn.GRU or nn.RNN, not a cell in a loop"
            )
    operators = {node.op_type for node in nodes(model.graph)}
    # A matrix that is read again and again is that of a cell whose steps stand one behind the
    # other.
    again = _most_reads(model) >= _STEPS and operators & {"Tanh", "Relu"}
    if again or (_is_cell(operators) and "Sigmoid" in operators):
        return (
            "the recurrence is written out, as products with the same matrices step by step. "
            "Export the layer as one operator: torch's exporter does so for nn.LSTM and nn.GRU, "
            "for nn.RNN only with `dynamo=False`, and not for cells in a Python loop; Keras with "
            "`unroll=False`"
        )
    return None


def _most_reads(model: ModelProto) -> int:
    """How many products read the same constant, at most."""
    constants = {tensor.name for graph in graphs(model.graph) for tensor in graph.initializer}
    constants |= {node.output[0] for node in nodes(model.graph) if node.op_type == "Constant"}
    reads: Counter[str] = Counter()
    for node in nodes(model.graph):
        if node.op_type in _PRODUCTS:
            reads.update(name for name in node.input[:2] if name in constants)
    return max(reads.values(), default=0)


_PRODUCTS = {"MatMul", "Gemm"}
_STEPS = 3
"""How often a matrix is read where a recurrence is written out."""


def _is_cell(operators: set[str]) -> bool:
    """Whether there is what the gates of a layer are made of."""
    return "Tanh" in operators and bool(operators & _PRODUCTS)
