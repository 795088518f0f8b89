"""What the server's parts find on this machine: `python -m isslim.service.doctor`.

It prints JSON, for `isslim doctor`, and changes nothing: no folder or database is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from isslim.runtime.opening import devices
from isslim.settings.environment import SettingsRefused, read
from isslim.settings.service import ServiceSettings
from isslim.store.errors import Unavailable
from isslim.store.liveness import locks_of
from isslim.store.probe import database_state, storage_state
from isslim.types.findings import FINDINGS, Finding


def findings() -> Iterator[Finding]:
    """Settings, database, storage, workers and devices; wrong settings leave out the others."""
    try:
        settings = read(ServiceSettings)
    except SettingsRefused as refused:
        advice = "correct or unset the variables; `python -m isslim.settings` lists them"
        yield Finding(
            subject="settings", state="wrong", detail="; ".join(refused.issues), advice=advice
        )
        return
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
        subject="devices that serve", state="ok", detail=f"{', '.join(devices())} (ONNX Runtime)"
    )


def _looked(subject: str, look: Callable[[], str], advice: str) -> Finding:
    try:
        return Finding(subject=subject, state="ok", detail=look())
    except (Unavailable, OSError) as error:
        reason = error.reason if isinstance(error, Unavailable) else str(error)
        return Finding(subject=subject, state="wrong", detail=reason, advice=advice)


def _worker(settings: ServiceSettings) -> Finding:
    advice = "jobs wait until there is one: isslim worker, or isslim serve for both"
    try:
        lives = locks_of(settings).held()
    except (Unavailable, OSError) as error:
        return Finding(subject="worker", state="wrong", detail=str(error), advice=advice)
    if lives:
        return Finding(subject="worker", state="ok", detail="at least one lives")
    return Finding(subject="worker", state="wrong", detail="none lives", advice=advice)


def main() -> None:
    """Prints what was found."""
    sys.stdout.write(FINDINGS.dump_json(list(findings())).decode() + "\n")


if __name__ == "__main__":
    main()
