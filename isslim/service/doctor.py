"""What the server's parts find on this machine: `python -m isslim.service.doctor`.

It prints JSON, for `isslim doctor`, and changes nothing: no folder or database is made.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from isslim.runtime.opening import devices
from isslim.settings.environment import issues_with, read
from isslim.settings.process_metrics import runtime_version
from isslim.settings.service import ServiceSettings
from isslim.settings.worker import WorkerSettings
from isslim.store.errors import Unavailable
from isslim.store.liveness import locks_of
from isslim.store.probe import database_state, storage_state
from isslim.types.findings import FINDINGS, Finding

CPUINFO = Path("/proc/cpuinfo")
INT8_INSTRUCTIONS = frozenset(
    ("avx_vnni", "avx512_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm")
)
"""As Linux names them; with none of them ONNX Runtime's int8 kernels are slow."""
LEAST_BYTES = 1 << 30
"""Free bytes below which hardly a job fits."""


def findings() -> Iterator[Finding]:
    """Settings, database, storage, workers and devices; wrong settings leave out the others."""
    issues = issues_with(ServiceSettings, WorkerSettings)
    if issues:
        advice = "correct or unset the variables; `python -m isslim.settings` lists them"
        yield Finding(subject="settings", state="wrong", detail="; ".join(issues), advice=advice)
        return
    settings = read(ServiceSettings)
    home = settings.home.absolute()
    is_made = home.exists()
    yield Finding(
        subject="home",
        state="ok" if is_made else "note",
        detail=str(home) if is_made else f"{home}: nothing was ever served from here",
        advice="" if is_made else "where it is another folder, name it: --home, or ISS_HOME",
    )
    yield _looked("database", lambda: database_state(settings), "check ISS_DATABASE_URL")
    yield _looked("storage", lambda: storage_state(settings), "check ISS_ARTIFACTS_URL, ISS_HOME")
    if is_made or settings.database_url is not None:
        yield _worker(settings)
    yield Finding(
        subject="devices that serve",
        state="ok",
        detail=f"{', '.join(devices())} (ONNX Runtime {runtime_version()})",
    )
    yield _instructions(CPUINFO)
    yield _disk(home)


def _instructions(path: Path) -> Finding:
    """What the processor has for 8-bit numbers, which decides what int8 gains here.

    Args:
        path: where the system describes the processor.
    """
    subject = "int8 instructions"
    try:
        words = set(path.read_text().split())
    except OSError:
        return Finding(subject=subject, state="note", detail="the system does not say")
    found = sorted(words & INT8_INSTRUCTIONS)
    if found:
        return Finding(subject=subject, state="ok", detail=", ".join(found))
    return Finding(
        subject=subject,
        state="note",
        detail="none: int8 is slow on this processor",
        advice="serve the compressed model in float32, or on another processor",
    )


def _disk(home: Path) -> Finding:
    """Room for uploads, bundles and work.

    Args:
        home: the folder of all of them, which may not be there yet.
    """
    there = next(each for each in (home, *home.parents) if each.exists())
    free = shutil.disk_usage(there).free
    detail = f"{free / (1 << 30):.1f} GiB free for {home}"
    if free < LEAST_BYTES:
        advice = "free some: an upload, its work and its bundle take several times the model"
        return Finding(subject="disk", state="wrong", detail=detail, advice=advice)
    return Finding(subject="disk", state="ok", detail=detail)


def _looked(subject: str, look: Callable[[], str], advice: str) -> Finding:
    try:
        return Finding(subject=subject, state="ok", detail=look())
    except (Unavailable, OSError) as error:
        reason = error.reason if isinstance(error, Unavailable) else str(error)
        return Finding(subject=subject, state="wrong", detail=reason, advice=advice)


def _worker(settings: ServiceSettings) -> Finding:
    advice = "jobs wait until there is one: isslim worker, or isslim serve for both"
    try:
        living = locks_of(settings).held()
    except (Unavailable, OSError) as error:
        reason = getattr(error, "reason", str(error))
        return Finding(subject="worker", state="wrong", detail=reason, advice=advice)
    if living:
        detail = f"{living} {'lives' if living == 1 else 'live'}"
        return Finding(subject="worker", state="ok", detail=detail)
    return Finding(subject="worker", state="wrong", detail="none lives", advice=advice)


def main() -> None:
    """Prints what was found."""
    sys.stdout.write(FINDINGS.dump_json(list(findings())).decode() + "\n")


if __name__ == "__main__":
    main()
