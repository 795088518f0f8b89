"""Bodies of runs: decompressed, JSON and bytes told apart, tensors read and written."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import NamedArrays
from isslim.service.array_answers import check_bytes, check_entries, listed
from isslim.service.inference_protocol.inference import FoundTensors
from isslim.service.inference_protocol.messages import (
    InferenceRequest,
    InferenceResponse,
    InputTensor,
    OutputTensor,
)
from isslim.service.inference_protocol.tensors import (
    TEXT,
    Array,
    datatype_of_array,
    from_bytes,
    from_lists,
    to_bytes,
)
from isslim.service.problems import RequestError
from isslim.service.timing import server_timing
from isslim.settings.service import ServiceSettings

JSON_LENGTH = "Inference-Header-Content-Length"
BYTES_TYPE = "application/octet-stream"
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
_NOT_OFFERED = ("shared_memory_region", "classification")
HINT = "; send tensors as bytes, of which larger ones are read"


@dataclass(frozen=True)
class SplitBody:
    """A body.

    Attributes:
        header: JSON.
        tail: the tensors that are sent as bytes.
    """

    header: bytes
    tail: memoryview


async def split_body(request: Request, most_bytes: int) -> SplitBody:
    """The JSON and the bytes of a request, of whatever content type.

    Args:
        request: with the body.
        most_bytes: that it may have when it is decompressed.

    Raises:
        RequestError: (invalid-request) when the length of the JSON is not within the body, or the
            body is not what its encoding says; (too-large) when it is;
            (unsupported-media-type) when its encoding is not read here.
    """
    content = await request.body()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        content = await run_in_threadpool(_decompressed, content, encoding, most_bytes)
    named = request.headers.get(JSON_LENGTH)
    if named is None:
        return SplitBody(content, memoryview(b""))
    length = int(named) if named.isascii() and named.isdigit() and len(named) < 20 else -1
    if not 0 <= length <= len(content):
        raise RequestError(
            "invalid-request",
            f"{JSON_LENGTH} is {named[:20]!r}; the body has {len(content):,} bytes",
        )
    return SplitBody(content[:length], memoryview(content)[length:])


def _decompressed(content: bytes, encoding: str, most_bytes: int) -> bytes:
    if encoding not in _WINDOW_BITS:
        raise RequestError(
            "unsupported-media-type",
            f"the content encoding is {encoding[:20]!r}; send {' or '.join(_WINDOW_BITS)}, or none",
        )
    reader = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        found = reader.decompress(content, most_bytes + 1)
    except zlib.error as error:
        raise RequestError("invalid-request", f"the body is not {encoding}: {error}") from error
    if len(found) > most_bytes:
        raise RequestError(
            "too-large", f"the body is decompressed larger than the limit of {most_bytes:,} bytes"
        )
    if not reader.eof:
        raise RequestError("invalid-request", f"the body ends within its {encoding}")
    return found


def inputs_of(asked: InferenceRequest, tail: memoryview, most_texts: int) -> NamedArrays:
    """The tensors of a request by name.

    Args:
        asked: the JSON.
        tail: the tensors that are sent as bytes, in the order of the inputs.
        most_texts: that one tensor may hold.

    Raises:
        InputsRefused: when sizes, shapes and values do not agree.
    """
    found: NamedArrays = {}
    place = 0
    for each in asked.inputs:
        if each.name in found:
            raise InputsRefused([f"input '{each.name}' is there twice"])
        size = _binary_size(each)
        if size is None:
            found[each.name] = from_lists(each.name, each.data, each.datatype, each.shape)
            continue
        if size > len(tail) - place:
            raise InputsRefused(
                [
                    f"input '{each.name}' has a `binary_data_size` of {size:,}; "
                    f"{len(tail) - place:,} bytes are left behind the JSON"
                ]
            )
        part = tail[place : place + size]
        found[each.name] = from_bytes(each.name, part, each.datatype, each.shape, most_texts)
        place += size
    if place != len(tail):
        raise InputsRefused([f"{len(tail) - place:,} bytes behind the JSON belong to no input"])
    return found


def _binary_size(tensor: InputTensor) -> int | None:
    """How many bytes of an input follow; None where it is JSON."""
    parameters = _offered(tensor.name, tensor.parameters)
    size = parameters.get("binary_data_size")
    if (size is None) == (tensor.data is None):
        raise InputsRefused([f"input '{tensor.name}' needs `data` or `binary_data_size`, not both"])
    if size is not None and (type(size) is not int or size < 0):
        raise InputsRefused([f"input '{tensor.name}': `binary_data_size` is a number from 0"])
    return size


def _offered(name: str, parameters: Mapping[str, Any] | None) -> Mapping[str, Any]:
    found = parameters or {}
    for each in _NOT_OFFERED:
        if found.get(each):
            raise InputsRefused([f"'{name}': the extension `{each}` is not offered"])
    return found


def as_bytes(asked: InferenceRequest, names: Sequence[str], default: bool) -> dict[str, bool]:
    """Which outputs are answered as bytes.

    Args:
        asked: the request.
        names: of the outputs of the answer.
        default: for those that do not say.

    Raises:
        InputsRefused: when an output asks for an extension that is not offered.
    """
    own = {
        each.name: _offered(each.name, each.parameters).get("binary_data", default) is True
        for each in asked.outputs or []
    }
    return {name: own.get(name, default) for name in names}


def answer_of(
    model: str,
    message_id: str | None,
    found: FoundTensors,
    binary: Mapping[str, bool],
    settings: ServiceSettings,
) -> Response:
    """The outputs of a run, as JSON or as JSON and bytes.

    Args:
        model: its name as it was asked for.
        message_id: of the request.
        found: the outputs.
        binary: which of them are bytes.
        settings: the limits of an answer.

    Raises:
        RequestError: (too-large) when it exceeds them.
    """
    lists = [array for name, array in found.outputs.items() if not binary[name]]
    check_entries(lists, settings, "name fewer `outputs`, or ask for `binary_data`")
    check_bytes(found.outputs.values(), settings)
    parts: list[bytes] = []
    outputs = []
    for name, array in found.outputs.items():
        tensor = OutputTensor(name=name, datatype=datatype_of_array(array), shape=list(array.shape))
        if binary[name]:
            parts.append(to_bytes(array))
            tensor.parameters = {"binary_data_size": len(parts[-1])}
        else:
            tensor.data = _flat(array)
        outputs.append(tensor)
    response = InferenceResponse(
        model_name=model, model_version=found.variant, id=message_id, outputs=outputs
    )
    header = json.dumps(response.model_dump(exclude_none=True)).encode()
    headers = server_timing(found.milliseconds)
    if not parts:
        return Response(header, media_type="application/json", headers=headers)
    headers[JSON_LENGTH] = str(len(header))
    return Response(b"".join([header, *parts]), media_type=BYTES_TYPE, headers=headers)


def _flat(array: Array) -> list[Any]:
    flat = array.ravel()
    if datatype_of_array(array) == TEXT:
        return [str(each) for each in flat.tolist()]
    found: list[Any] = listed(np.asarray(flat))
    return found
