"""Service and worker as processes started by the command line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from isslim.client.commands import exits
from isslim.client.commands.answers import Answers
from isslim.client.commands.options import AsJson

Home = Annotated[Path, typer.Option(envvar="ISS_HOME", help="folder of uploads, bundles and jobs")]
HOME = Path("data")


def serve(
    host: Annotated[
        str, typer.Option(envvar="ISS_HOST", help="address to listen on")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="ISS_PORT", min=1, max=65535, help="port to listen on")
    ] = 8000,
    home: Home = HOME,
    processes: Annotated[
        str,
        typer.Option(envvar="ISS_PROCESSES", help="service processes: a number, or `auto`"),
    ] = "1",
    as_json: AsJson = False,
) -> None:
    """Starts service and worker together; Ctrl-C ends both.

    With --json: the address, as soon as it is known.
    """
    answers = Answers(as_json)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        _try_to_listen(host, port)
    except OSError as error:
        description = f"cannot listen on {address}: {error.strerror}; take another --host or --port"
        typer.echo(description, err=True)
        raise typer.Exit(exits.REFUSED) from error
    environment = os.environ | {
        "ISS_HOST": host,
        "ISS_PORT": str(port),
        "ISS_HOME": str(home),
        "ISS_PROCESSES": processes,
    }
    # A SIGTERM (a supervisor, `docker stop`) or the end of the terminal must end both as Ctrl-C
    # does; by default it would leave them behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    parts = {
        name: subprocess.Popen([sys.executable, "-P", "-m", module], env=environment)
        for name, module in (("service", "isslim.service"), ("worker", "isslim.compress.worker"))
    }
    description = (
        f"service on http://{address} (documentation at /docs), worker beside it; Ctrl-C ends both"
    )
    answers.give({"url": f"http://{address}"}, lambda: Text(description))
    ended: dict[str, int] = {}
    try:
        while not ended:
            time.sleep(0.5)
            codes = {name: process.poll() for name, process in parts.items()}
            ended = {name: code for name, code in codes.items() if code is not None}
    except KeyboardInterrupt:
        typer.echo("ending", err=True)
    finally:
        for process in parts.values():
            process.terminate()
        for process in parts.values():
            _ended(process)
    for name, code in ended.items():
        # Either process alone is of no use. A negative code is the signal that killed it.
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        typer.echo(f"the {name} {how}; ending both", err=True)
    if ended:
        raise typer.Exit(max(1, *ended.values()))


def _try_to_listen(host: str, port: int) -> None:
    """Raises the system's OSError when the address is not available.

    It is called before the two processes are started, since neither would report this.
    """
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The exit status; a process that does not end in time is killed."""
    try:
        return process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def worker(home: Home = HOME) -> None:
    """Starts one more worker."""
    # It replaces this process, so that a signal to the process reaches the worker.
    os.execve(
        sys.executable,
        [sys.executable, "-P", "-m", "isslim.compress.worker"],
        os.environ | {"ISS_HOME": str(home)},
    )
