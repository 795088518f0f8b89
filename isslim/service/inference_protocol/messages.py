"""Bodies of the protocol's requests and answers. Fields that are not known here are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from isslim.service.inference_protocol.tensors import DATATYPES, MAX_RANK
from isslim.types.schemas.common import MAX_OUTPUTS, PlainText

MAX_SIZE = (1 << 63) - 1
Parameters = dict[str, Any]


def _known(datatype: str) -> str:
    if datatype not in DATATYPES:
        raise ValueError(
            f"there is no datatype '{datatype[:20]}'; there is: {', '.join(DATATYPES)}"
        )
    return datatype


Datatype = Annotated[str, AfterValidator(_known)]
Shape = Annotated[
    list[Annotated[int, Field(ge=0, le=MAX_SIZE, strict=True)]], Field(max_length=MAX_RANK)
]
_NAME = "name in the graph"
_DATATYPE = f"one of {', '.join(DATATYPES)}"
_BINARY = Field(
    default=None,
    description="`binary_data_size`: the tensor is that many bytes behind the JSON",
    examples=[{"binary_data_size": 32}],
)


class InputTensor(BaseModel):
    """An input of a run."""

    name: PlainText = Field(description=_NAME, examples=["tokens"])
    shape: Shape = Field(description="its sizes", examples=[[4, 1]])
    datatype: Datatype = Field(description=_DATATYPE, examples=["INT64"])
    parameters: Parameters | None = _BINARY
    data: Any = Field(
        default=None,
        description="its values, flat or nested; absent where it is sent as bytes",
        examples=[[3, 17, 5, 2]],
    )


class RequestedOutput(BaseModel):
    """An output that is asked for."""

    name: PlainText = Field(description=_NAME, examples=["log_probs"])
    parameters: Parameters | None = Field(
        default=None,
        description="`binary_data`: whether it is answered as bytes",
        examples=[{"binary_data": True}],
    )


class InferenceRequest(BaseModel):
    """One run of a graph; bytes of its inputs follow, in their order."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "inputs": [{"name": "x", "shape": [2, 1], "datatype": "INT64", "data": [3, 17]}]
            }
        }
    )

    id: PlainText | None = Field(default=None, description="is answered", examples=["42"])
    inputs: list[InputTensor] = Field(
        max_length=MAX_OUTPUTS,
        description="every input of the graph",
        examples=[[{"name": "x", "shape": [2, 1], "datatype": "INT64", "data": [3, 17]}]],
    )
    outputs: list[RequestedOutput] | None = Field(
        default=None,
        max_length=MAX_OUTPUTS,
        description="which outputs; absent: all",
        examples=[[{"name": "scores"}]],
    )
    parameters: Parameters | None = Field(
        default=None,
        description="`binary_data_output`: outputs are answered as bytes unless they say "
        "otherwise; `timeout`: microseconds after which no answer is wanted; `device`: where it "
        "runs",
        examples=[{"binary_data_output": True, "timeout": 500000}],
    )


class OutputTensor(BaseModel):
    """An output of a run."""

    name: str = Field(description=_NAME, examples=["scores"])
    datatype: str = Field(description=_DATATYPE, examples=["FP32"])
    shape: list[int] = Field(description="its sizes", examples=[[2, 1]])
    parameters: Parameters | None = _BINARY
    data: list[Any] | None = Field(
        default=None,
        description="its values, flat and row major; null for one that is not finite",
        examples=[[0.1, 2.5]],
    )


class InferenceResponse(BaseModel):
    """The outputs of a run; with a header `Inference-Header-Content-Length`, bytes follow."""

    model_name: str = Field(description="name of the model", examples=["demo"])
    model_version: str = Field(description="the variant that ran", examples=["compressed-int8"])
    id: str | None = Field(default=None, description="of the request", examples=["42"])
    outputs: list[OutputTensor] = Field(
        description="in the order of the request",
        examples=[[{"name": "y", "datatype": "FP32", "shape": [1], "data": [0.5]}]],
    )


class TensorMetadata(BaseModel):
    """An input or output of a graph."""

    name: str = Field(description=_NAME, examples=["tokens"])
    datatype: str = Field(description=_DATATYPE, examples=["INT64"])
    shape: list[int] = Field(description="its sizes; -1: any", examples=[[-1, -1]])


class ModelMetadata(BaseModel):
    """A model's inputs and outputs."""

    name: str = Field(description="of the model", examples=["demo"])
    versions: list[str] = Field(
        description="its variants", examples=[["original", "compressed-int8"]]
    )
    platform: str = Field(
        default="onnxruntime_onnx", description="what runs it", examples=["onnxruntime_onnx"]
    )
    inputs: list[TensorMetadata] = Field(
        description="all inputs",
        examples=[[{"name": "x", "datatype": "INT64", "shape": [-1, -1]}]],
    )
    outputs: list[TensorMetadata] = Field(
        description="all outputs",
        examples=[[{"name": "y", "datatype": "FP32", "shape": [-1, -1]}]],
    )


class ServerMetadata(BaseModel):
    """What this server is."""

    name: str = Field(description="of the server", examples=["isslim"])
    version: str = Field(description="of the server", examples=["1.2.3"])
    extensions: list[str] = Field(
        description="of the protocol", examples=[["binary_tensor_data", "model_repository"]]
    )


class ServerLive(BaseModel):
    """The server lives."""

    live: bool = Field(default=True, description="always true", examples=[True])


class ServerReady(ServerLive):
    """The server can answer."""

    ready: bool = Field(default=True, description="whether models can be run", examples=[True])


class ModelReady(BaseModel):
    """The model can answer; it is loaded by its first request."""

    name: str = Field(description="of the model", examples=["demo"])
    ready: bool = Field(default=True, description="always true", examples=[True])


class ModelConfig(BaseModel):
    """What load generators ask for."""

    name: str = Field(description="of the model", examples=["demo"])
    platform: str = Field(
        default="onnxruntime_onnx", description="what runs it", examples=["onnxruntime_onnx"]
    )
    max_batch_size: int = Field(
        default=0, description="0: batches are a dimension of the tensors", examples=[0]
    )


class Duration(BaseModel):
    """How often, and how long in all."""

    count: int = Field(default=0, description="how often", examples=[12])
    ns: int = Field(default=0, description="nanoseconds in all", examples=[15600000])


class InferenceStatistics(BaseModel):
    """Durations of the stages."""

    success: Duration = Field(description="waiting and running")
    queue: Duration = Field(description="waiting")
    compute_infer: Duration = Field(description="running")


class ModelStatistics(BaseModel):
    """The runs of a variant since the service started, those of its other routes included."""

    name: str = Field(description="of the model", examples=["demo"])
    version: str = Field(description="the variant", examples=["compressed-int8"])
    inference_count: int = Field(description="requests", examples=[12])
    execution_count: int = Field(description="runs", examples=[12])
    inference_stats: InferenceStatistics = Field(description="durations")


class Statistics(BaseModel):
    """Statistics of variants."""

    model_stats: list[ModelStatistics] = Field(description="one for each variant")


class IndexEntry(BaseModel):
    """A variant of a model in the repository."""

    name: str = Field(description="by which the model is asked", examples=["demo"])
    version: str = Field(description="the variant", examples=["compressed-int8"])
    state: Literal["READY", "UNAVAILABLE"] = Field(
        description="whether it can be loaded", examples=["READY"]
    )
    reason: str = Field(description="why it cannot", examples=[""])


class IndexRequest(BaseModel):
    """Which entries of the repository."""

    ready: bool | None = Field(
        default=None, strict=True, description="true: those that are ready alone", examples=[True]
    )


class ModelLoaded(BaseModel):
    """A model was loaded."""

    name: str = Field(description="of the model", examples=["demo"])
    load: bool = Field(default=True, description="always true", examples=[True])


class ModelUnloaded(BaseModel):
    """A model was removed from memory."""

    name: str = Field(description="of the model", examples=["demo"])
    unload: bool = Field(default=True, description="always true", examples=[True])
