"""Reads tensors from the external data file that exporters write next to a model.

torch's exporter writes `m.onnx` and `m.onnx.data`. Only the file that was sent along is ever read:
the name in the model only shows that there is one such file, and offsets and lengths are checked
against its size.

https://onnx.ai/onnx/repo-docs/ExternalData.html
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from onnx import ModelProto, TensorProto, helper

from isslim.compress.errors import GraphNotUnderstood

MAX_BYTES = (1 << 31) - 1
"""Most bytes of one protobuf message."""
_WAYS = (
    "send that file too, as the form field `model_data` (the command line and the Python client "
    "find it by themselves where it lies beside the model), or save both as one file: "
    "`onnx.save(onnx.load('m.onnx'), 'one.onnx')`, or `torch.onnx.export(..., external_data=False)`"
)


def tensors(message: Any) -> Iterator[TensorProto]:
    """Every tensor anywhere in a model, or in another message of its format.

    This includes nested graphs, attributes, functions, sparse constants and training information: a
    reference to another file must be noticed wherever it is, so every field is searched.
    """
    for field, value in message.ListFields():
        # Numbers, texts and their lists hold no messages.
        if field.message_type is None:
            continue
        several = (value,) if hasattr(value, "ListFields") else value
        for each in several:
            if isinstance(each, TensorProto):
                yield each
            else:
                yield from tensors(each)


def external_tensors(model: ModelProto) -> list[TensorProto]:
    """The tensors that are stored in external files."""
    return [
        tensor
        for tensor in tensors(model)
        # Either of the two marks may make some reader open the file.
        if tensor.data_location == TensorProto.EXTERNAL or len(tensor.external_data) > 0
    ]


def refuse_external(model: ModelProto) -> None:
    """Refuses a model some of whose tensors are missing.

    Args:
        model: before its functions are inlined, which drops those that nothing calls.

    Raises:
        GraphNotUnderstood: with both ways to fix it.
    """
    missing = external_tensors(model)
    if missing:
        files = sorted({_entries(tensor).get("location", "") for tensor in missing})
        where = (
            f"a file beside the model ('{files[0]}')"
            if len(files) == 1
            else f"{len(files)} files beside the model"
        )
        raise GraphNotUnderstood(f"{len(missing)} of the graph's tensors lie in {where}: {_WAYS}")


def load_external(model: ModelProto, data: Path) -> int:
    """Copies the numbers of a data file into the model that refers to it; in place.

    Args:
        model: with external tensors.
        data: the one file that holds them, whatever name the model uses.

    Returns:
        The number of tensors that were read; 0 when the model refers to no file.

    Raises:
        GraphNotUnderstood: when the model names several files or a path, or a tensor is not
            within the file.
    """
    missing = external_tensors(model)
    if not missing:
        return 0
    names = sorted({_entries(tensor).get("location", "") for tensor in missing})
    # It is unknown which of several files was sent: the uploaded one has lost its name.
    if len(names) > 1:
        raise GraphNotUnderstood(
            f"the model's tensors lie in {len(names)} files ({', '.join(map(repr, names[:3]))}, "
            "...), and one can be sent along: make one of all, "
            "`onnx.save(onnx.load('m.onnx'), 'one.onnx')`"
        )
    if not _is_plain(names[0]):
        raise GraphNotUnderstood(
            f"the model's tensors lie in {names[0]!r}, which is no plain file name; save it with "
            "the data file beside it, `onnx.save(onnx.load('m.onnx'), 'one.onnx')`"
        )
    # All offsets are checked before the first byte is read: a refused model is not changed.
    size = data.stat().st_size
    places = [_place(tensor, size) for tensor in missing]
    # Tensors may overlap in the file, and then their total is larger than the file itself.
    total = sum(length for _, length in places) + model.ByteSize()
    if total > MAX_BYTES:
        raise GraphNotUnderstood(
            f"model and data file have {total:,} bytes together; {MAX_BYTES:,} are allowed"
        )
    with data.open("rb") as file:
        for tensor, (offset, length) in zip(missing, places, strict=True):
            file.seek(offset)
            tensor.raw_data = file.read(length)
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
    return len(missing)


def _place(tensor: TensorProto, size: int) -> tuple[int, int]:
    """Offset and length of a tensor in the data file, in bytes."""
    entries = _entries(tensor)
    wanted = f"the tensor '{tensor.name}'"
    # Runtimes differ in which of the two they use.
    if any(len(getattr(tensor, name)) for name in _INSIDE):
        raise GraphNotUnderstood(f"{wanted} has numbers both in the model and in the data file")
    try:
        offset = int(entries.get("offset", "0"))
        bytes_each = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        if tensor.data_type in _PACKED or tensor.data_type == TensorProto.STRING:
            raise KeyError(tensor.data_type)
    except ValueError as error:
        raise GraphNotUnderstood(
            f"{wanted}: its place in the data file is no number: {entries['offset']!r}"
        ) from error
    except KeyError as error:  # the error of onnx for a type without a NumPy equivalent
        raise GraphNotUnderstood(
            f"{wanted} in the data file is of a type that is not read ({tensor.data_type})"
        ) from error
    # Two negative sizes would have a positive product.
    if any(dim < 0 for dim in tensor.dims):
        raise GraphNotUnderstood(f"{wanted} has the sizes {list(tensor.dims)}")
    expected = prod(tensor.dims) * bytes_each
    # The length may be omitted; where it is given it must agree with type and sizes.
    given = entries.get("length", str(expected))
    if given != str(expected):
        raise GraphNotUnderstood(
            f"{wanted} has {given} bytes in the data file; {list(tensor.dims)} asks for "
            f"{expected:,}"
        )
    if offset < 0 or offset + expected > size:
        raise GraphNotUnderstood(
            f"{wanted} is to lie at bytes {offset:,} to {offset + expected:,} of the data file, "
            f"which has {size:,}: is it the file that was written with this model, and whole?"
        )
    return offset, expected


_INSIDE = (
    "raw_data",
    "float_data",
    "double_data",
    "int32_data",
    "int64_data",
    "uint64_data",
    "string_data",
)
"""Fields that may hold a tensor's numbers in the model itself."""
_PACKED = {
    number
    for name, number in TensorProto.DataType.items()
    if name in ("INT4", "UINT4", "INT2", "UINT2", "FLOAT4E2M1")
}
"""Types that are packed several to a byte."""


def _entries(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _is_plain(name: str) -> bool:
    """Whether a name stays within the folder of the model, on any system."""
    return bool(name) and not set(name) & set("/\\\0") and name not in (".", "..")
