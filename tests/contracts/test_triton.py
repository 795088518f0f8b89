"""tritonclient, over HTTP and gRPC: its answers are bit for bit those of `/models/{model}/run`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.contracts.conftest import Install, Mixed
from tests.test_packaging import ran

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
PROTO = HERE.parent.parent / "isslim" / "service" / "inference_protocol" / "open_inference.proto"
WAYS = {
    "http": ("bytes", "named", "json", "gzip", "deflate"),
    "grpc": ("bytes", "named", "stream"),
}
grpc_there = pytest.mark.skipif(
    importlib.util.find_spec("grpc") is None, reason="gRPC is optional: pip install 'isslim[grpc]'"
)


@pytest.mark.parametrize("protocol", ["http", pytest.param("grpc", marks=grpc_there)])
def test_every_way_of_asking_gives_what_a_run_gives(
    protocol: str, mixed: Mixed, installed: Install, tmp_path: Path
) -> None:
    python = installed("tritonclient[http,grpc]", "grpcio-tools")
    mixed.check(python, HERE / "triton_client.py", protocol, WAYS[protocol], tmp_path)


def test_compiled_protocol_is_that_of_the_file_and_of_the_client(
    installed: Install, tmp_path: Path
) -> None:
    python = installed("tritonclient[http,grpc]", "grpcio-tools")
    out = tmp_path / "compiled"
    options = (f"-I{PROTO.parent}", f"--descriptor_set_out={out}", PROTO.name)
    ran(python, "-m", "grpc_tools.protoc", *options, folder=tmp_path)
    assert out.read_bytes() == PROTO.with_suffix(".desc").read_bytes()
    ran(python, HERE / "triton_fields.py", out, folder=tmp_path)
