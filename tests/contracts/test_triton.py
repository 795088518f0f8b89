"""tritonclient, over HTTP and gRPC: its answers are bit for bit those of `/models/{model}/run`."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from isslim.demo.ports import free_port
from isslim.types.arrays import dump_npz
from tests.contracts.conftest import Install
from tests.service.inference_protocol.mixed import extra, publish_mixed
from tests.service.served import served
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


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("contracts")
    publish_mixed(made)
    return made


@pytest.fixture(scope="module")
def addresses(home: Path) -> Iterator[dict[str, str]]:
    """Where the service answers, by protocol."""
    port = free_port()
    gives_grpc = importlib.util.find_spec("grpc") is not None
    with served(home, {"ISS_GRPC_PORT": str(port)} if gives_grpc else {}) as url:
        yield {"http": url.removeprefix("http://"), "grpc": f"127.0.0.1:{port}"}


@pytest.mark.parametrize("protocol", ["http", pytest.param("grpc", marks=grpc_there)])
def test_every_way_of_asking_gives_what_a_run_gives(
    protocol: str, addresses: dict[str, str], installed: Install, tmp_path: Path
) -> None:
    ids = np.random.default_rng(0).integers(0, 40, (7, 2))
    content = dump_npz({"ids": ids, **extra(5)})
    (tmp_path / "inputs.npz").write_bytes(content)
    python = installed("tritonclient[http,grpc]", "grpcio-tools")
    script = HERE / "triton_client.py"
    files = (tmp_path / "inputs.npz", tmp_path / "outputs.npz")
    ran(python, script, protocol, addresses[protocol], *files, folder=tmp_path)
    answer = httpx.post(
        f"http://{addresses['http']}/models/mixed/run",
        params={"variants": "compressed"},
        content=content,
        headers={"content-type": "application/x-npz"},
        timeout=60,
    )
    wanted = {
        name.removeprefix("compressed/"): array
        for name, array in np.load(io.BytesIO(answer.content)).items()
    }
    found = dict(np.load(files[1]))
    names = {f"{way}/{name}" for way in WAYS[protocol] for name in wanted} | {"one/scores"}
    assert found.keys() == names
    for name, array in found.items():
        assert np.array_equal(array, wanted[name.split("/")[1]]), name


def test_compiled_protocol_is_that_of_the_file_and_of_the_client(
    installed: Install, tmp_path: Path
) -> None:
    python = installed("tritonclient[http,grpc]", "grpcio-tools")
    out = tmp_path / "compiled"
    options = (f"-I{PROTO.parent}", f"--descriptor_set_out={out}", PROTO.name)
    ran(python, "-m", "grpc_tools.protoc", *options, folder=tmp_path)
    assert out.read_bytes() == PROTO.with_suffix(".desc").read_bytes()
    ran(python, HERE / "triton_fields.py", out, folder=tmp_path)
