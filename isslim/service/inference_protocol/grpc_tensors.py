"""Tensors in messages of gRPC: as bytes beside the message, or as lists in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import ValidationError

from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import NamedArrays
from isslim.service.inference_protocol.messages import InputTensor
from isslim.service.inference_protocol.tensors import (
    TEXT,
    Array,
    datatype_of_array,
    from_bytes,
    from_lists,
    to_bytes,
)
from isslim.service.problems import RequestError, issues_of

_LISTS: dict[str, tuple[str, Any]] = {
    "BOOL": ("bool_contents", np.bool_),
    **dict.fromkeys(("INT8", "INT16", "INT32"), ("int_contents", np.int32)),
    "INT64": ("int64_contents", np.int64),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), ("uint_contents", np.uint32)),
    "UINT64": ("uint64_contents", np.uint64),
    "FP32": ("fp32_contents", np.float32),
    "FP64": ("fp64_contents", np.float64),
}
"""The list that holds a datatype, and its type; half floats come as bytes alone."""


def inputs_of(request: Any, most_texts: int) -> NamedArrays:
    """The tensors of a `ModelInferRequest` by name.

    Args:
        request: the message.
        most_texts: that one tensor may hold.

    Raises:
        InputsRefused: when sizes, shapes and values do not agree.
        RequestError: (invalid-request) when a name, shape or datatype is none.
    """
    contents = request.raw_input_contents
    if contents and len(contents) != len(request.inputs):
        raise InputsRefused(
            [f"there are {len(request.inputs)} inputs and {len(contents)} `raw_input_contents`"]
        )
    found: NamedArrays = {}
    for index, each in enumerate(request.inputs):
        tensor = _checked(each)
        if tensor.name in found:
            raise InputsRefused([f"input '{tensor.name}' is there twice"])
        if contents:
            part = memoryview(contents[index])
            found[tensor.name] = from_bytes(
                tensor.name, part, tensor.datatype, tensor.shape, most_texts
            )
        else:
            values = _listed(tensor, each.contents)
            found[tensor.name] = from_lists(tensor.name, values, tensor.datatype, tensor.shape)
    return found


def _checked(tensor: Any) -> InputTensor:
    try:
        return InputTensor(name=tensor.name, shape=list(tensor.shape), datatype=tensor.datatype)
    except ValidationError as error:
        issues = issues_of(error, "inputs")
        detail = "; ".join(f"{each['pointer']}: {each['detail']}" for each in issues[:5])
        raise RequestError("invalid-request", detail, issues) from None


def _listed(tensor: InputTensor, contents: Any) -> Any:
    if tensor.datatype == TEXT:
        try:
            return [each.decode() for each in contents.bytes_contents]
        except UnicodeDecodeError as error:
            raise InputsRefused(
                [f"input '{tensor.name}' holds a text that is not UTF-8"]
            ) from error
    if tensor.datatype not in _LISTS:
        raise InputsRefused([f"input '{tensor.name}' is sent as `raw_input_contents`"])
    name, kind = _LISTS[tensor.datatype]
    return np.array(getattr(contents, name), kind)


def outputs_of(outputs: NamedArrays) -> tuple[list[dict[str, Any]], list[bytes]]:
    """What a `ModelInferResponse` says of its outputs, and their bytes.

    Args:
        outputs: by name.
    """
    described = [_described(name, array) for name, array in outputs.items()]
    return described, [to_bytes(array) for array in outputs.values()]


def _described(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "datatype": datatype_of_array(array), "shape": list(array.shape)}
