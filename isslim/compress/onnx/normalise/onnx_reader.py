"""Reads an untrusted ONNX file: checks limits first, then normalises the graph.

Size before parsing; no files beside the model; standard operators only; ONNX's own checker;
functions inlined; what is computed from constants folded; loops of a recurrent cell turned into its
operator. To be run in a child process with limits
on memory and time.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto

from isslim.compress.errors import GraphNotUnderstood, UnreadableUpload
from isslim.compress.onnx.model.external_data import MAX_BYTES, refuse_external
from isslim.compress.onnx.model.shapes import with_shapes
from isslim.compress.onnx.model.split_model import (
    graphs,
    merge_constants,
    nodes,
    replace,
    sort_nodes,
    split_constants,
)
from isslim.compress.onnx.normalise.einsums import einsums_as_products
from isslim.compress.onnx.normalise.folding import fold, fold_known
from isslim.compress.onnx.normalise.functions import inlined
from isslim.compress.onnx.normalise.loops import loops_as_layers
from isslim.compress.onnx.normalise.normal_form import drop_unread
from isslim.compress.onnx.normalise.refusals import (
    refuse_bytes,
    refuse_endless,
    refuse_misfits,
    refuse_odd_tensors,
    refuse_unreadable,
    refuse_without_layers,
)
from isslim.compress.onnx.normalise.sharing import separate


def read_graph(path: Path, largest: int = MAX_BYTES) -> ModelProto:
    """Reads a model whose recurrent layers can be looked at.

    Args:
        path: of the file.
        largest: bytes that it may have.

    Returns:
        A model of the same inputs, outputs and meaning: constants folded, functions inlined,
        constants of nested graphs where they are read, every value of one name in the whole model.

    Raises:
        UnreadableUpload: when the file is too large, or no ONNX model.
        GraphNotUnderstood: when it has no recurrent layers, or is of a kind that is refused; the
            detail names it.
    """
    return simplified(parse(path, largest))


def parse(path: Path, largest: int = MAX_BYTES) -> ModelProto:
    """Loads a file as a model; no other file is read.

    Args:
        path: of the file.
        largest: bytes that it may have.

    Raises:
        UnreadableUpload: when the file is too large, no ONNX model, or has names that are no text.
    """
    size = path.stat().st_size
    if size > largest:
        raise UnreadableUpload(f"the file has {size:,} bytes; {largest:,} are allowed")
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's own error, which only its own package names
        raise UnreadableUpload(f"the file is no ONNX model, or is cut off: {error}") from error
    if not model.HasField("graph"):
        raise UnreadableUpload("the file is no ONNX model: it has no graph")
    refuse_bytes(model)
    return model


def is_graph(path: Path) -> bool:
    """Whether a file begins as an ONNX model does, and no zip, pickle or safetensors file.

    The first field of a model is its version: a byte for field 1 of a number, then the number.
    """
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file begins with a length of eight bytes, whatever they are, and a brace.
    return start[:1] == b"\x08" and start[8:9] != b"{"


def simplified(model: ModelProto) -> ModelProto:
    """`read_graph` for a model that is already in memory; it stays as it is.

    Raises:
        GraphNotUnderstood: see `read_graph`.
        UnreadableUpload: when ONNX's checker refuses it, or a tensor or a body does not fit.
    """
    refuse_external(model)
    # The steps below search among nodes.
    model = inlined(model)
    refuse_unreadable(model)
    model = _tidy(model)
    try:
        onnx.checker.check_model(model)
    # Its own error, and that of a message which is no text.
    except (onnx.checker.ValidationError, ValueError) as error:
        raise UnreadableUpload(
            f"ONNX's checker refuses the model: {next(iter(str(error).splitlines()), '')}"
        ) from error
    refuse_odd_tensors(model)
    refuse_misfits(model)
    # A layer may be written out as a Loop, which is looked into below.
    if not any(node.op_type == "Loop" for node in nodes(model.graph)):
        refuse_without_layers(model)
    parts = split_constants(model)
    for graph in graphs(parts.structure.graph):
        # What a file states of sizes between its operators may be out of date.
        replace(graph.value_info, [])
    # Neither is part of what the graph computes, and both may hold tensors of their own.
    parts.structure.ClearField("functions")
    parts.structure.ClearField("training_info")
    if any(node.op_type == "Einsum" for node in nodes(parts.structure.graph)):
        fold_known(parts)  # first, for the sizes of a constant operand are known
        einsums_as_products(parts)
    fold(parts)
    refuse_endless(parts)
    reasons = loops_as_layers(parts)
    separate(parts)
    drop_unread(parts)
    simple = merge_constants(parts)
    # Again, for a layer may have stood in a branch that cannot run.
    refuse_without_layers(simple, reasons)
    # A value that is sent under that name could be for either.
    if len({port.name for port in simple.graph.input}) != len(simple.graph.input):
        raise GraphNotUnderstood("two of the graph's inputs have one name")
    return simple


def _tidy(model: ModelProto) -> ModelProto:
    """A copy with its nodes in order and shapes for its outputs.

    Runtimes do without either; ONNX's checker, which has to pass, does not.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    for graph in graphs(copy.graph):
        sort_nodes(graph)
    shapeless = [port for port in copy.graph.output if not port.type.tensor_type.HasField("shape")]
    if shapeless:
        known = {port.name: port.type for port in with_shapes(copy).graph.output}
        for port in shapeless:
            port.type.CopyFrom(known[port.name])
    return copy
