"""Environments with the libraries of clients."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from isslim.demo.ports import free_port
from isslim.runtime.graphs.recorded_inputs import NamedArrays
from isslim.types.arrays import dump_npz
from tests.conftest import Published
from tests.service.inference_protocol.mixed import extra, publish_mixed
from tests.service.served import served
from tests.test_packaging import environment, ran

Install = Callable[..., Path]
OPENAI_CLIENTS = ("openai==3.57.0", "lm-eval[api]==0.4.13")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """The interpreter of a fresh environment with requirements; the same ones share it."""
    made: dict[tuple[str, ...], Path] = {}

    def install(*requirements: str) -> Path:
        if requirements not in made:
            python = environment(tmp_path_factory.mktemp("client"))
            options = ("-q", "--no-compile", *requirements)
            ran(python, "-m", "pip", "install", *options, folder=python.parent)
            made[requirements] = python
        return made[requirements]

    return install


@pytest.fixture(scope="session")
def clients(installed: Install) -> Path:
    """The folder of programs of an environment with clients of the OpenAI API."""
    return installed(*OPENAI_CLIENTS).parent


@pytest.fixture(scope="module")
def url(published: Published) -> Iterator[str]:
    """The address of a service with the model `tiny`."""
    with served(published.settings.home, {"ISS_GENERATED_LIMIT": "1000000"}) as address:
        yield address


@dataclass(frozen=True)
class Mixed:
    """A service with the model `mixed`, whose tensors are of many datatypes.

    Attributes:
        addresses: where it answers, by protocol.
        inputs: of a run, as npz.
        wanted: outputs of its variant `compressed`, by `/models/{model}/run`.
    """

    addresses: dict[str, str]
    inputs: bytes
    wanted: NamedArrays

    def check(
        self, python: Path, script: Path, protocol: str, ways: Sequence[str], folder: Path
    ) -> None:
        """Runs a client's script, and compares what it got with the run, bit for bit.

        Args:
            python: of the client's environment.
            script: takes protocol, address, inputs, and where it leaves `<way>/<output>`.
            protocol: to ask by.
            ways: in which all outputs are asked for; in the way `one` only `scores` is.
            folder: for the files.
        """
        inputs, outputs = folder / "inputs.npz", folder / "outputs.npz"
        inputs.write_bytes(self.inputs)
        ran(python, script, protocol, self.addresses[protocol], inputs, outputs, folder=folder)
        found = dict(np.load(outputs))
        names = {f"{way}/{name}" for way in ways for name in self.wanted} | {"one/scores"}
        assert found.keys() == names
        for name, array in found.items():
            assert np.array_equal(array, self.wanted[name.split("/")[1]]), name


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    home, port = tmp_path_factory.mktemp("contracts"), free_port()
    publish_mixed(home)
    ids = np.random.default_rng(0).integers(0, 40, (7, 2))
    content = dump_npz({"ids": ids, **extra(5)})
    gives_grpc = importlib.util.find_spec("grpc") is not None
    with served(home, {"ISS_GRPC_PORT": str(port)} if gives_grpc else {}) as url:
        answer = httpx.post(
            f"{url}/models/mixed/run",
            params={"variants": "compressed"},
            content=content,
            headers={"content-type": "application/x-npz"},
            timeout=60,
        )
        wanted = {
            name.removeprefix("compressed/"): array
            for name, array in np.load(io.BytesIO(answer.content)).items()
        }
        addresses = {"http": url.removeprefix("http://"), "grpc": f"127.0.0.1:{port}"}
        yield Mixed(addresses, content, wanted)
