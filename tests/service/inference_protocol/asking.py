"""Requests of the protocol, made by hand, and their answers read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from isslim.service.inference_protocol.tensors import DATATYPES

Arrays = dict[str, NDArray[Any]]
HEADER = "Inference-Header-Content-Length"
NUMPY = {
    "BOOL": np.dtype("?"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
}
assert NUMPY.keys() | {"BYTES"} == DATATYPES.keys()


def datatype(array: NDArray[Any]) -> str:
    return next((name for name, kind in NUMPY.items() if kind == array.dtype), "BYTES")


def raw(array: NDArray[Any]) -> bytes:
    """As tritonclient's `serialize_byte_tensor` and `tobytes` write it."""
    if datatype(array) != "BYTES":
        return array.tobytes()
    texts = [str(each).encode() for each in array.ravel()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def binary(inputs: Mapping[str, NDArray[Any]], **fields: object) -> dict[str, Any]:
    """Content and headers of a request with all inputs as bytes, and no content type."""
    tensors = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": datatype(array),
            "parameters": {"binary_data_size": len(raw(array))},
        }
        for name, array in inputs.items()
    ]
    header = json.dumps({"inputs": tensors, **fields}).encode()
    content = b"".join([header, *map(raw, inputs.values())])
    return {"content": content, "headers": {HEADER: str(len(header))}}


def as_json(
    inputs: Mapping[str, NDArray[Any]], *, nested: bool = False, **fields: object
) -> dict[str, Any]:
    """The same with all inputs as JSON."""
    tensors = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": datatype(array),
            "data": (array if nested else array.ravel()).tolist(),
        }
        for name, array in inputs.items()
    ]
    return {"json": {"inputs": tensors, **fields}}


def outputs(answer: httpx.Response) -> Arrays:
    """The outputs of an answer in either form."""
    assert answer.status_code == 200, answer.text
    named = answer.headers.get(HEADER)
    length = len(answer.content) if named is None else int(named)
    kind = "application/json" if named is None else "application/octet-stream"
    assert answer.headers["content-type"] == kind
    body, rest = json.loads(answer.content[:length]), answer.content[length:]
    found: Arrays = {}
    for each in body["outputs"]:
        size = each.get("parameters", {}).get("binary_data_size")
        if size is None:
            kind_of = NUMPY.get(each["datatype"], object)
            found[each["name"]] = np.array(each["data"], kind_of).reshape(each["shape"])
            continue
        part, rest = rest[:size], rest[size:]
        if each["datatype"] == "BYTES":
            array = np.array(texts(part), object)
        else:
            array = np.frombuffer(part, NUMPY[each["datatype"]])
        found[each["name"]] = array.reshape(each["shape"])
    assert rest == b""
    return found


def texts(content: bytes) -> list[str]:
    found = []
    while content:
        size = int.from_bytes(content[:4], "little")
        found.append(content[4 : 4 + size].decode())
        content = content[4 + size :]
    return found


def same(found: Arrays, wanted: Mapping[str, NDArray[Any]]) -> None:
    """Bit for bit, in the same order."""
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype or array.dtype.kind in "OU"
        assert np.array_equal(found[name], array), name
