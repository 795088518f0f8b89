"""The Open Inference Protocol over gRPC, on the event loop that serves HTTP."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.types import Message

from isslim import __version__
from isslim.runtime.errors import UnknownVariant
from isslim.service.access.trail import Trail
from isslim.service.array_answers import check_bytes
from isslim.service.context import AppContext
from isslim.service.inference_protocol.descriptions import EXTENSIONS, index, metadata, statistics
from isslim.service.inference_protocol.grpc_access import admit, noted
from isslim.service.inference_protocol.grpc_calls import (
    REQUEST_ID,
    Call,
    CallRecord,
    MessageReader,
    Refusal,
    identified,
    recorded,
    refusal_of,
    set_trailing,
    traced,
)
from isslim.service.inference_protocol.grpc_messages import (
    SERVICE,
    message_classes,
    service_descriptor,
)
from isslim.service.inference_protocol.grpc_tensors import inputs_of, outputs_of
from isslim.service.inference_protocol.inference import SETTING, open_graph, run_graph
from isslim.service.inference_protocol.messages import ModelConfig
from isslim.service.inference_protocol.parameters import (
    TIMEOUT,
    RunParameters,
    message_parameters,
)
from isslim.service.model_reference import ModelReference
from isslim.service.problems import RequestError, problem_of
from isslim.service.served_model import HEADER as SERVED
from isslim.service.served_model import LEFT
from isslim.service.serving.admission import TIMEOUT_HEADER, Ticket
from isslim.store.errors import CorruptBundle, NotFound, StoreError

_TIMEOUT = TIMEOUT_HEADER.encode()
STREAM = "ModelStreamInfer"
Handler = Callable[[Any, Call], Awaitable[Any]]


@asynccontextmanager
async def grpc_server(context: AppContext, port: int, most_bytes: int) -> AsyncIterator[None]:
    """Serves until the block ends.

    Args:
        context: of the app.
        port: to listen on, at the service's address.
        most_bytes: of one message.

    Raises:
        RuntimeError: when the port cannot be listened on.
    """
    options = [
        ("grpc.max_receive_message_length", most_bytes),
        ("grpc.max_send_message_length", -1),
        # Its own processes share the port; a second service must not take half of the requests.
        ("grpc.so_reuseport", int(context.siblings.are_there)),
    ]
    most_calls = context.settings.runs_at_once + context.settings.waiting_limit
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=most_calls)
    server.add_generic_rpc_handlers((_InferenceService(context).handlers(),))
    host = context.settings.host
    server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(context.settings.shutdown_seconds)


class _InferenceService:
    """The methods of the protocol; each takes a message and the call, and returns a message."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._service = service_descriptor()
        self._types = message_classes(self._service)
        self._reader = MessageReader(context.large_bodies)
        self._trail = Trail(context.audit)

    def handlers(self) -> grpc.GenericRpcHandler:
        """All methods, for the server."""
        methods: dict[str, Handler] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "ModelInfer": self._infer,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        found = {
            # On the wire a stream of one message is that message; a stream is read when its
            # handler wants it, and a single message before the handler is called.
            name: grpc.stream_unary_rpc_method_handler(
                self._answered(name, method), response_serializer=self._written(name)
            )
            for name, method in methods.items()
        }
        found[STREAM] = grpc.stream_stream_rpc_method_handler(
            self._infer_each, response_serializer=self._written(STREAM)
        )
        return grpc.method_handlers_generic_handler(SERVICE, found)

    def _request(self, method: str) -> Any:
        """The class of a method's requests."""
        return self._types[self._service.methods_by_name[method].input_type.name]

    def _written(self, method: str) -> Callable[[Any], bytes]:
        output = self._service.methods_by_name[method].output_type
        serialize: Callable[[Any], bytes] = self._types[output.name].SerializeToString
        return serialize

    def _answered(self, name: str, method: Handler) -> Handler:
        """A method whose errors become statuses."""
        kind = self._request(name)

        async def answered(_: AsyncIterator[bytes], call: Call) -> Any:
            identified(call)
            with traced(name, call), recorded(name) as record:
                async with noted(self._trail, record):
                    answer = await self._answer(kind, method, call, record)
                if isinstance(answer, Refusal):
                    await call.abort(answer.code, answer.text)
                return answer

        return answered

    async def _answer(self, kind: Any, method: Handler, call: Call, record: CallRecord) -> Any:
        try:
            admit(self._context.access, call, record)
            async with self._reader.of_call(call, kind) as request:
                record.message_id = getattr(request, "id", "")
                if named := getattr(request, "model_name", ""):
                    record.subject = f"/models/{named}"
                return await method(request, call)
        except Exception as error:
            refusal = self._refusal(error)
            record.refuse(refusal)
            return refusal

    def _refusal(self, error: Exception) -> Refusal:
        """What is told of an error, which is counted."""
        if isinstance(error, RequestError):
            self._context.metrics.note_refusal(error.kind)
        return refusal_of(error)

    def _admitted(self, call: Call) -> AbstractAsyncContextManager[Ticket]:
        seconds, left = self._context.settings.run_seconds, call.time_remaining()
        metadata = [
            (str(name).encode(), _as_bytes(value))
            for name, value in call.invocation_metadata() or ()
        ]
        if left is not None and left <= 0:
            raise RequestError("deadline-exceeded", "the call's deadline is over")
        if left is not None and left < seconds and all(name != _TIMEOUT for name, _ in metadata):
            # What is late by the call's own deadline is late, and not refused for want of room.
            metadata.append((_TIMEOUT, str(max(1, math.ceil(1e3 * left))).encode()))
        # gRPC itself cancels the handler when the sender has left.
        request = Request({"type": "http", "headers": metadata}, _never)
        return self._context.admission.admit(request, seconds, SETTING)

    @asynccontextmanager
    async def _tried(self, call: Call) -> AsyncIterator[Ticket]:
        """As `_admitted`; the trials of an alias are told how it ended."""
        ticket, status, began = None, LEFT, time.perf_counter()
        try:
            async with self._admitted(call) as ticket:
                yield ticket
            status = 200
        except Exception as error:
            status = problem_of(error).status
            raise
        finally:
            if ticket is not None:
                self._context.trials.answered(ticket, status, time.perf_counter() - began)

    async def _server_live(self, request: Any, call: Call) -> Any:
        return self._types["ServerLiveResponse"](live=True)

    async def _server_ready(self, request: Any, call: Call) -> Any:
        try:
            await run_in_threadpool(self._context.check_readable)
        except (StoreError, RequestError):
            return self._types["ServerReadyResponse"](ready=False)
        return self._types["ServerReadyResponse"](ready=True)

    async def _server_metadata(self, request: Any, call: Call) -> Any:
        response = self._types["ServerMetadataResponse"]
        return response(name="isslim", version=__version__, extensions=EXTENSIONS)

    async def _known(self, request: Any) -> ModelReference:
        reference = ModelReference.parse(request.name, request.version)
        _, manifest = await run_in_threadpool(self._context.models.manifest, reference.model)
        reference.variant_of(manifest)
        return reference

    async def _model_ready(self, request: Any, call: Call) -> Any:
        try:
            await self._known(request)
        except (NotFound, UnknownVariant, CorruptBundle):  # an answer here, and no error
            return self._types["ModelReadyResponse"](ready=False)
        return self._types["ModelReadyResponse"](ready=True)

    async def _model_config(self, request: Any, call: Call) -> Any:
        reference = await self._known(request)
        config = ModelConfig(name=reference.model).model_dump()
        return self._types["ModelConfigResponse"](config=config)

    async def _model_metadata(self, request: Any, call: Call) -> Any:
        reference = ModelReference.parse(request.name, request.version)
        async with self._admitted(call) as ticket:
            opened = await open_graph(self._context, reference, ticket)
        return self._types["ModelMetadataResponse"](**metadata(reference, opened).model_dump())

    async def _model_statistics(self, request: Any, call: Call) -> Any:
        asked = ModelReference.parse(request.name, request.version) if request.name else None
        found = await run_in_threadpool(statistics, self._context, asked)
        dumped = [each.model_dump() for each in found]
        return self._types["ModelStatisticsResponse"](model_stats=dumped)

    async def _index(self, request: Any, call: Call) -> Any:
        found = await run_in_threadpool(index, self._context)
        chosen = [each for each in found if each.state == "READY" or not request.ready]
        dumped = [each.model_dump() for each in chosen]
        return self._types["RepositoryIndexResponse"](models=dumped)

    async def _load(self, request: Any, call: Call) -> Any:
        async with self._admitted(call) as ticket:
            await open_graph(self._context, ModelReference.parse(request.model_name), ticket)
        return self._types["RepositoryModelLoadResponse"]()

    async def _unload(self, request: Any, call: Call) -> Any:
        model = ModelReference.parse(request.model_name).model
        await run_in_threadpool(self._context.unload, model)
        return self._types["RepositoryModelUnloadResponse"]()

    async def _infer(self, request: Any, call: Call) -> Any:
        context, settings = self._context, self._context.settings
        reference = ModelReference.parse(request.model_name, request.model_version)
        parameters = RunParameters.of(message_parameters(request.parameters))
        async with self._tried(call) as ticket:
            if parameters.seconds is not None:
                ticket.end_within(parameters.seconds, TIMEOUT)
            opened = await open_graph(context, reference, ticket, parameters.device)
            found = await run_graph(
                context,
                opened,
                lambda: inputs_of(request, settings.json_values_limit),
                [each.name for each in request.outputs],
                ticket,
            )
            set_trailing(call, SERVED, ticket.served)
        check_bytes(found.outputs.values(), settings)
        outputs, contents = await run_in_threadpool(outputs_of, found.outputs)
        return self._types["ModelInferResponse"](
            model_name=reference.model,
            model_version=found.variant,
            id=request.id,
            outputs=outputs,
            raw_output_contents=contents,
        )

    async def _infer_each(self, _: AsyncIterator[bytes], call: Call) -> AsyncIterator[Any]:
        """A stream: one answer to each request, in their order; an error does not end it."""
        await call.send_initial_metadata(((REQUEST_ID, identified(call)),))
        try:
            admit(self._context.access, call, CallRecord(STREAM))
            with self._reader.stream():
                while (content := await call.read()) is not grpc.aio.EOF:
                    yield await self._streamed(content, call)
        except RequestError as error:
            refusal = self._refusal(error)
            await call.abort(refusal.code, refusal.text)

    async def _streamed(self, content: bytes, call: Call) -> Any:
        response, message_id = self._types["ModelStreamInferResponse"], ""
        with traced(STREAM, call), recorded(STREAM) as record:
            try:
                admit(self._context.access, call, record)
                with self._reader.of_stream(content, self._request(STREAM)) as request:
                    record.message_id = message_id = request.id
                    return response(infer_response=await self._infer(request, call))
            except Exception as error:
                refusal = self._refusal(error)
                record.refuse(refusal)
                return response(error_message=refusal.text, infer_response={"id": message_id})


async def _never() -> Message:
    """Waits until it is cancelled."""
    message: Message = await asyncio.get_running_loop().create_future()
    return message


def _as_bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
