"""Messages of the protocol over gRPC, from the compiled form of `open_inference.proto`.

    python -m grpc_tools.protoc -I. --descriptor_set_out=open_inference.desc open_inference.proto

compiles it anew. Generated Python would be bound to the version of protobuf that generated it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE = "inference.GRPCInferenceService"
COMPILED = Path(__file__).with_name("open_inference.desc")


def service_descriptor() -> ServiceDescriptor:
    """The methods of the protocol, with the types of their messages."""
    pool = DescriptorPool()  # of its own: another library of a process may know this package too
    for file in FileDescriptorSet.FromString(COMPILED.read_bytes()).file:
        pool.Add(file)
    return pool.FindServiceByName(SERVICE)


def message_classes(service: ServiceDescriptor) -> dict[str, Any]:
    """Classes of the messages that methods take and return, by name."""
    types = [each for method in service.methods for each in (method.input_type, method.output_type)]
    return {each.name: GetMessageClass(each) for each in types}
