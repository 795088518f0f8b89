"""Runs in the environment of tritonclient: compares a compiled protocol with the client's own.

triton_fields.py COMPILED
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2


def fields(message: Any) -> dict[str, tuple[int, int, int, str]]:
    """Of a message by name: number, type, how often, name of its type."""
    return {
        each.name: (each.number, each.type, each.label, each.type_name) for each in message.field
    }


def compare(ours: DescriptorProto, theirs: DescriptorProto) -> None:
    """Every field that ours has is the same in theirs."""
    assert fields(ours).items() <= fields(theirs).items(), ours.name
    nested = {each.name: each for each in theirs.nested_type}
    for each in ours.nested_type:
        compare(each, nested[each.name])


def main() -> None:
    """All messages and methods."""
    (ours,) = FileDescriptorSet.FromString(Path(sys.argv[1]).read_bytes()).file
    theirs = {}
    for module in (service_pb2, model_config_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        theirs |= {each.name: each for each in [*file.message_type, *file.service]}
    assert ours.package == "inference"
    for message in ours.message_type:
        compare(message, theirs[message.name])
    (service,) = ours.service
    methods = {each.name: each for each in theirs[service.name].method}
    for method in service.method:
        other = methods[method.name]
        assert (method.input_type, method.output_type) == (other.input_type, other.output_type)
        assert method.client_streaming == other.client_streaming
        assert method.server_streaming == other.server_streaming


if __name__ == "__main__":
    main()
