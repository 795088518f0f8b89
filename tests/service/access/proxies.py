"""Reverse proxies with the configuration of the documentation, on loopback."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import pytest

from isslim.demo.ports import free_port

DEPLOY = Path(__file__).parents[3] / "docs" / "deploy.md"
SERVICE, GRPC = "127.0.0.1:8000", "127.0.0.1:8001"
"""What the documentation's recipes pass requests on to."""


class ReverseProxy(ABC):
    """A proxy with TLS in front of a service, from the beginning of a block to its end.

    Args:
        folder: for its files; empty.
        upstream: address of the service, such as `127.0.0.1:8000`.
        grpc: address of its port for gRPC.

    Attributes:
        port: on localhost.
        certificate: what a client trusts.
    """

    programs: tuple[str, ...]
    certificate: Path

    def __init__(self, folder: Path, upstream: str, grpc: str) -> None:
        self.port, self.folder = free_port(), folder
        path = f"{os.environ['PATH']}:/usr/sbin"
        found = [shutil.which(each, path=path) for each in self.programs]
        if None in found:
            reason = f"{' or '.join(self.programs)} is not installed"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        self._command = [str(found[0]), *self.configured({SERVICE: upstream, GRPC: grpc})]

    @abstractmethod
    def configured(self, addresses: dict[str, str]) -> list[str]:
        """Writes the configuration; returns the program's arguments.

        Args:
            addresses: what replaces those of the documentation.
        """

    def recipe(self, language: str, replaced: dict[str, str]) -> str:
        """The documentation's configuration.

        Args:
            language: of its block.
            replaced: what is otherwise here.
        """
        (text,) = re.findall(rf"^```{language}\n(.*?)^```$", DEPLOY.read_text(), re.M | re.S)
        for documented, here in replaced.items():
            assert documented in text
            text = text.replace(documented, here)
        return str(text)

    def __enter__(self) -> Self:
        environment = os.environ | {"HOME": str(self.folder)}
        self._log = (self.folder / "log").open("wb")
        self._process = subprocess.Popen(self._command, env=environment, stderr=self._log)
        limit = time.monotonic() + 20
        while not self.certificate.exists():
            assert time.monotonic() < limit, (self.folder / "log").read_text()
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        self._log.close()


class Nginx(ReverseProxy):
    """nginx, with a certificate of its own."""

    programs = ("nginx", "openssl")

    def configured(self, addresses: dict[str, str]) -> list[str]:
        """See `ReverseProxy`.

        Args:
            addresses: see there.
        """
        self.certificate = self.folder / "c.pem"
        key = self.folder / "c.key"
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        made = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key]
        subprocess.run(
            ["openssl", "req", "-x509", *made, "-out", self.certificate, *names],
            check=True,
            capture_output=True,
        )
        server = self.recipe(
            "nginx",
            addresses
            | {
                "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
                "server_name iss.example": "server_name localhost",
                "/etc/ssl/iss.example.pem": str(self.certificate),
                "/etc/ssl/iss.example.key": str(key),
            },
        )
        places = "".join(
            f"{name}_temp_path {self.folder / name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        written = self.folder / "nginx.conf"
        written.write_text(
            f"daemon off; master_process off; pid {self.folder / 'pid'}; error_log stderr;\n"
            f"events {{}}\nhttp {{ access_log off;\n{places}{server}}}\n"
        )
        return ["-p", str(self.folder), "-c", str(written)]


class Caddy(ReverseProxy):
    """Caddy, with a certificate of the authority that it makes."""

    programs = ("caddy",)

    def configured(self, addresses: dict[str, str]) -> list[str]:
        """See `ReverseProxy`.

        Args:
            addresses: see there.
        """
        here = f"https://localhost:{self.port} {{\n\tbind 127.0.0.1\n\ttls internal"
        site = self.recipe("caddyfile", addresses | {"iss.example {": here})
        stored = self.folder / "stored"
        self.certificate = stored / "pki" / "authorities" / "local" / "root.crt"
        written = self.folder / "Caddyfile"
        written.write_text(
            "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n"
            f"\tstorage file_system {stored}\n}}\n\n{site}"
        )
        return ["run", "--adapter", "caddyfile", "--config", str(written)]
