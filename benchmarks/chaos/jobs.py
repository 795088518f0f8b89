"""The jobs of a round: asked for as a stubborn client does, and looked at when all is over."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Self

import httpx

from benchmarks.chaos.child import RESULT, result_of
from benchmarks.chaos.members import Cluster
from isslim.store.artifacts import Artifacts
from isslim.store.bundles import BundleStore
from isslim.store.errors import StoreError
from isslim.types.jobs import JobState

AGAIN = {"out-of-space", "worker-fault", "worker-lost", "storage-unavailable"}
"""Kinds of problems that say what was wrong with the machine, and to send the request again."""
ENDED_SECONDS = 120.0
"""How long after the last trouble a job may take that is not stuck."""
LEFT_SECONDS = 15.0
"""How long after its job a process, or what a job leaves, may be there."""


@dataclass
class Asked:
    """A job that was asked for.

    Attributes:
        name: of its model, which no other job has.
        content: of its upload.
        id: as a service answered; empty: none has.
    """

    name: str
    content: bytes
    id: str = ""
    outcome: JobState | None = None
    model_id: str | None = None
    problem: str = ""


@dataclass
class Audit:
    """What is wrong when all is over; nothing should be.

    Attributes:
        lost: jobs that were taken and have no model, or one that is not what undisturbed work
            gives.
        doubled: models of a job beyond its one, and times when two processes did one job.
        orphaned: models that no job has, halves of models, folders and processes of ended jobs.
        stuck: jobs that do not end.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    orphaned: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)


class Jobs:
    """Asks a cluster for jobs.

    Args:
        cluster: whose services are asked, whichever answers.
        random: chooses.
    """

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self._cluster, self._random = cluster, random
        self._client = httpx.Client(timeout=15.0)
        self.asked: list[Asked] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self) -> None:
        """Asks for a new job, once; who got no answer is asked again by `insist`."""
        name = f"job-{len(self.asked)}"
        self.asked.append(Asked(name, f"{name} {self._random.random()}".encode()))
        self._post(self.asked[-1])

    def open(self) -> int:
        """How many have not ended, as far as is known; looks at some of them."""
        waiting = [each for each in self.asked if each.outcome is None]
        for each in waiting[:4]:
            self.look(each)
        return len(waiting)

    def insist(self) -> None:
        """Asks again for those that no service has answered, until one does."""
        limit = time.monotonic() + ENDED_SECONDS
        while time.monotonic() < limit:
            unanswered = [each for each in self.asked if not each.id]
            if not unanswered:
                return
            self._cluster.keep_alive()
            for each in unanswered:
                self._post(each)
            time.sleep(0.2)

    def insist_on(self, job: Asked) -> None:
        """Asks for a job until a service answers."""
        limit = time.monotonic() + ENDED_SECONDS
        while not job.id and time.monotonic() < limit:
            self._cluster.keep_alive()
            self._post(job)
            time.sleep(0.05)

    def look(self, job: Asked) -> None:
        """Learns the state of a job, if a service answers."""
        said = self._get(f"/jobs/{job.id}") if job.id else None
        if said is None:
            return
        state = JobState(said["state"])
        if state.ended:
            problem = said.get("problem") or {}
            job.outcome, job.model_id = state, said.get("model_id")
            told = problem.get("issues") or problem.get("detail", "")
            job.problem = f"{problem.get('kind', '')}: {told}"

    def wait(self) -> None:
        """Waits until all have ended, or too long."""
        limit = time.monotonic() + ENDED_SECONDS
        while time.monotonic() < limit:
            self._cluster.keep_alive()
            if not self.open():
                return
            time.sleep(0.1)

    def ask_again(self) -> int:
        """Asks again for jobs that were told to be asked again; the number of them."""
        failed = [
            each
            for each in self.asked
            if each.outcome is JobState.FAILED and each.problem.split(":")[0] in AGAIN
        ]
        for each in failed:
            each.outcome, each.id, each.problem = None, "", ""
        if failed:
            self.insist()
            self.wait()
        return len(failed)

    def audit(self, seconds: float = LEFT_SECONDS) -> Audit:
        """Looks at every job, model, folder and process.

        Args:
            seconds: that folders and processes may still be there.
        """
        found, store = Audit(), BundleStore(self._cluster.settings)
        names = Counter(manifest.name for _, manifest in store.manifests())
        ids = {each for each, _ in store.manifests()}
        for job in self.asked:
            if job.outcome is None:
                (found.stuck if job.id else found.lost).append(f"{job.name} {job.id}: no end")
            elif job.outcome is not JobState.SUCCEEDED or job.model_id is None:
                found.lost.append(f"{job.name} {job.id}: {job.outcome} {job.problem}")
            else:
                found.lost += _wrong(store, job)
            found.doubled += [f"{job.name}: another model"] * (names[job.name] - 1)
        overlaps = self._cluster.folder / "overlaps"
        if overlaps.exists():
            found.doubled += [f"{each}: two at once" for each in overlaps.read_text().split()]
        named = {job.model_id for job in self.asked}
        found.orphaned += [f"model {each}" for each in ids - named]
        store.collect_garbage(older_than_seconds=0.0)  # halves of killed publications
        found.orphaned += [
            f"file {each}"
            for each in Artifacts(self._cluster.settings).names("bundles")
            if each.split("/")[1] not in ids
        ]
        found.orphaned += _left(self._cluster, seconds)
        return found

    def _post(self, job: Asked) -> None:
        service = self._random.choice(self._cluster.services)
        options = {"name": job.name, "budget": {"size_ratio": 0.5}, "minutes": 0}
        try:
            said = self._client.post(
                f"{service.url}/compress",
                files={"model": ("model.pt", job.content)},
                data={"options": json.dumps(options)},
            )
        except httpx.HTTPError:
            return
        if said.status_code == 202:
            job.id = said.json()["id"]
        elif said.status_code not in (503, 507):
            raise RuntimeError(f"POST /compress: {said.status_code} {said.text[:500]}")

    def _get(self, path: str) -> dict[str, Any] | None:
        service = self._random.choice(self._cluster.services)
        try:
            said = self._client.get(f"{service.url}{path}")
        except httpx.HTTPError:
            return None
        if said.status_code == 503:
            return None
        if said.status_code != 200:
            raise RuntimeError(f"GET {path}: {said.status_code} {said.text[:500]}")
        found: dict[str, Any] = said.json()
        return found


def _wrong(store: BundleStore, job: Asked) -> list[str]:
    """What is wrong with the model of a job."""
    try:
        made = store.open(str(job.model_id)).path(RESULT).read_text()
    except StoreError as fault:
        return [f"{job.name}: {fault}"]
    return [] if made == result_of(job.content) else [f"{job.name}: another result"]


def _left(cluster: Cluster, seconds: float) -> list[str]:
    """Folders and processes of jobs that have all ended."""
    limit = time.monotonic() + seconds
    while True:
        folders = [
            str(each) for member in cluster.workers for each in (member.home / "work").glob("*")
        ]
        processes = [f"process {each}" for each in _children(cluster)]
        if not (folders or processes) or time.monotonic() > limit:
            return [*dict.fromkeys(folders), *processes]
        time.sleep(0.2)


def _children(cluster: Cluster) -> list[int]:
    """Processes of jobs of this cluster, whoever their parent is."""
    marks = (b"benchmarks.chaos.child", os.fsencode(cluster.folder))
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            shown = (each / "cmdline").read_bytes(), (each / "environ").read_bytes()
        except OSError:
            continue
        if all(mark in text for mark, text in zip(marks, shown, strict=True)):
            found.append(int(each.name))
    return found
