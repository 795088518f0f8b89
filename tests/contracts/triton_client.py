"""Runs in the environment of tritonclient: asks everything, and leaves what it got.

    triton_client.py http|grpc ADDRESS INPUTS.npz OUTPUTS.npz

INPUTS holds the inputs of the model `mixed`; OUTPUTS gets `<way>/<output>` for each way of asking.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

MODEL, VERSION = "mixed", "compressed"


def main() -> None:
    """Everything that a client may ask."""
    protocol, address, inputs, outputs = sys.argv[1:]
    library = importlib.import_module(f"tritonclient.{protocol}")
    client = library.InferenceServerClient(address)
    with np.load(inputs) as file:
        arrays = {name: file[name] for name in file.files}
    describe(client, protocol)
    found: dict[str, Any] = {}
    tensors = [tensor(library, *each) for each in arrays.items()]
    keep(found, "bytes", client.infer(MODEL, tensors, VERSION))
    result = client.infer(f"{MODEL}:{VERSION}", tensors, request_id="mine")
    keep(found, "named", result)
    head = result.get_response()
    assert (head["id"] if protocol == "http" else head.id) == "mine"
    one = [library.InferRequestedOutput("scores")]
    result = client.infer(MODEL, tensors, VERSION, outputs=one)
    assert result.as_numpy("inverted") is None
    keep(found, "one", result)
    if protocol == "http":
        only_http(library, client, arrays, found)
    else:
        only_grpc(client, tensors, found)
    refuse(library, client, tensors)
    np.savez(outputs, **found)


def describe(client: Any, protocol: str) -> None:
    """Health, metadata, repository, statistics."""
    form = {"as_json": True} if protocol == "grpc" else {}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, VERSION)
    assert not client.is_model_ready("nope")
    assert client.get_server_metadata(**form)["name"] == "isslim"
    assert VERSION in client.get_model_metadata(MODEL, **form)["versions"]
    config = client.get_model_config(MODEL, **form)
    assert config.get("config", config)["name"] == MODEL
    client.load_model(MODEL)
    index = client.get_model_repository_index(**form)
    entries = index["models"] if protocol == "grpc" else index
    assert {"name": MODEL, "version": VERSION, "state": "READY"}.items() <= entries[2].items()
    client.unload_model(MODEL)
    stats = client.get_inference_statistics(MODEL, **form)["model_stats"]
    assert VERSION in {each["version"] for each in stats}


def tensor(library: Any, name: str, array: Any, **options: Any) -> Any:
    """An input."""
    array = array.astype(np.object_) if array.dtype.kind == "U" else array
    made = library.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array, **options)
    return made


def keep(found: dict[str, Any], way: str, result: Any) -> None:
    """Keeps all outputs of a result; texts as such."""
    for name in ("scores", "inverted", "same_halves", "same_words"):
        array = result.as_numpy(name)
        if array is not None:
            if array.dtype.kind == "O":
                texts = [each.decode() if isinstance(each, bytes) else each for each in array]
                array = np.array(texts)
            found[f"{way}/{name}"] = array


def only_http(library: Any, client: Any, arrays: Any, found: dict[str, Any]) -> None:
    """JSON, and compressed bodies."""
    # The client sends half floats as bytes alone.
    plain = [
        tensor(library, name, array, binary_data=array.dtype == np.float16)
        for name, array in arrays.items()
    ]
    wanted = [
        library.InferRequestedOutput(name, binary_data=False)
        for name in ("scores", "inverted", "same_halves", "same_words")
    ]
    keep(found, "json", client.infer(MODEL, plain, VERSION, outputs=wanted, request_id="a"))
    tensors = [tensor(library, *each) for each in arrays.items()]
    for algorithm in ("gzip", "deflate"):
        options = dict.fromkeys(
            ("request_compression_algorithm", "response_compression_algorithm"), algorithm
        )
        keep(found, algorithm, client.infer(MODEL, tensors, VERSION, **options))


def only_grpc(client: Any, tensors: list[Any], found: dict[str, Any]) -> None:
    """A stream."""
    results: list[tuple[Any, Any]] = []
    client.start_stream(lambda result, error: results.append((result, error)))
    for _ in range(2):
        client.async_stream_infer(MODEL, tensors, VERSION)
    client.stop_stream()
    assert [error for _, error in results] == [None, None]
    keep(found, "stream", results[1][0])


def refuse(library: Any, client: Any, tensors: list[Any]) -> None:
    """Errors arrive as the client's own, with the reason."""
    for model, given, said in (
        ("nope", tensors, "there is no model 'nope'"),
        (MODEL, tensors[1:], "is missing"),
        (MODEL, [tensor(library, "ids", np.zeros((2, 2), np.float32) + 0.5)], "decimal point"),
    ):
        found = ""
        try:
            client.infer(model, given, VERSION)
        except InferenceServerException as error:
            found = str(error)
        assert said in found, (said, found)


if __name__ == "__main__":
    main()
