"""The clients of `kserve`, over HTTP and gRPC: their answers are bit for bit those of a run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.contracts.conftest import Install, Mixed

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("kserve_client.py")
WAYS = {"http": ("bytes", "both", "json"), "grpc": ("bytes",)}
grpc_there = pytest.mark.skipif(
    importlib.util.find_spec("grpc") is None, reason="gRPC is optional: pip install 'isslim[grpc]'"
)


@pytest.mark.parametrize("protocol", ["http", pytest.param("grpc", marks=grpc_there)])
def test_every_way_of_asking_gives_what_a_run_gives(
    protocol: str, mixed: Mixed, installed: Install, tmp_path: Path
) -> None:
    mixed.check(installed("kserve==0.21.0"), SCRIPT, protocol, WAYS[protocol], tmp_path)
