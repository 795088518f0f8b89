"""Runs in the environment of `kserve`: asks everything, and leaves what it got.

    kserve_client.py http|grpc ADDRESS INPUTS.npz OUTPUTS.npz

INPUTS holds the inputs of the model `mixed`; OUTPUTS gets `<way>/<output>` for each way of asking.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)
from kserve.protocol.infer_type import RequestedOutput
from kserve.utils.numpy_codec import from_np_dtype

MODEL, VERSION = "mixed", "compressed"
NAMED = f"{MODEL}:{VERSION}"
NAMES = ("scores", "inverted", "same_halves", "same_words")
Arrays = dict[str, Any]


async def main() -> None:
    """Everything that a client may ask."""
    protocol, address, inputs, outputs = sys.argv[1:]
    with np.load(inputs) as file:
        arrays = {name: file[name] for name in file.files}
    found = await (over_http if protocol == "http" else over_grpc)(address, arrays)
    np.savez(outputs, **found)


def request(arrays: Arrays, *, binary: bool = True, outputs: Any = None, **fields: Any) -> Any:
    """A run of the model, or of another."""
    tensors = []
    for name, array in arrays.items():
        array = array.astype(np.object_) if array.dtype.kind == "U" else array
        tensor = InferInput(name, list(array.shape), from_np_dtype(array.dtype))
        # The client sends half floats as bytes alone.
        tensor.set_data_from_numpy(array, binary_data=binary or array.dtype == np.float16)
        tensors.append(tensor)
    fields = {"model_name": NAMED, "request_outputs": outputs, **fields}
    return InferRequest(infer_inputs=tensors, **fields)


def keep(found: Arrays, way: str, response: Any) -> None:
    """Keeps all outputs of a response; texts as such."""
    for output in response.outputs:
        array = output.as_numpy()
        if array.dtype.kind == "O":
            array = np.array([each.decode() if isinstance(each, bytes) else each for each in array])
        found[f"{way}/{output.name}"] = array


async def over_http(address: str, arrays: Arrays) -> Arrays:
    """Health, runs with tensors as bytes and as JSON, errors."""
    url, found = f"http://{address}", {}
    plain = [RequestedOutput(name, {"binary_data": name == "same_halves"}) for name in NAMES]
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        assert await client.is_server_live(url) is True
        assert await client.is_server_ready(url) is True
        assert await client.is_model_ready(url, MODEL) is True
        assert await client.is_model_ready(url, "nope") is False

        async def ask(given: Any, model: str = NAMED) -> Any:
            return await client.infer(url, given, model_name=model)

        response = await ask(request(arrays, request_id="mine"))
        assert response.id == "mine"
        keep(found, "bytes", response)
        headers: dict[str, str] = {}
        given = request(arrays, parameters={"binary_data_output": True})
        keep(
            found,
            "both",
            await client.infer(url, given, model_name=NAMED, response_headers=headers),
        )
        assert headers["x-isslim-model"].endswith(f":{VERSION}")
        keep(found, "json", await ask(request(arrays, binary=False, outputs=plain)))
        one = [RequestedOutput("scores", {"binary_data": True})]
        keep(found, "one", await ask(request(arrays, outputs=one)))
        for model, given, said in (
            ("nope", arrays, "there is no model 'nope'"),
            (NAMED, {"ids": arrays["ids"]}, "is missing"),
        ):
            text = ""
            try:
                await ask(request(given), model)
            except httpx.HTTPStatusError as error:
                text = str(error)
            assert said in text, (said, text)
    return found


async def over_grpc(address: str, arrays: Arrays) -> Arrays:
    """The same over gRPC."""
    found: Arrays = {}
    async with InferenceGRPCClient(address) as client:
        assert await client.is_server_live() is True
        assert await client.is_server_ready() is True
        assert await client.is_model_ready(MODEL) is True
        assert await client.is_model_ready("nope") is False
        response = await client.infer(request(arrays, request_id="mine"))
        assert response.id == "mine"
        keep(found, "bytes", response)
        one = [RequestedOutput("scores")]
        keep(found, "one", await client.infer(request(arrays, outputs=one)))
        for model, given, code, said in (
            ("nope", arrays, grpc.StatusCode.NOT_FOUND, "there is no model 'nope'"),
            (NAMED, {"ids": arrays["ids"]}, grpc.StatusCode.INVALID_ARGUMENT, "is missing"),
        ):
            told = None, ""
            try:
                await client.infer(request(given, model_name=model))
            except grpc.RpcError as error:
                told = error.code(), error.details()
            assert (told[0], said in told[1]) == (code, True), told
    return found


if __name__ == "__main__":
    asyncio.run(main())
