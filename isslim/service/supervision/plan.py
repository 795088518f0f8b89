"""How many service processes, with how many threads a run."""

from __future__ import annotations

from dataclasses import dataclass

from isslim.settings.service import MAX_PROCESSES, ServiceSettings

LEAST_BYTES = 512 << 20
"""Least share of the memory limit for which `auto` takes another process: each has models of its
own, and one that must close and load them all the time is slower than none."""


@dataclass(frozen=True)
class Plan:
    """How a service uses its machine.

    Attributes:
        processes: of the service.
        threads: of one run.
        cores: physical ones that they may use.
        reason: why so many.
    """

    processes: int
    threads: int
    cores: int
    reason: str

    def __str__(self) -> str:
        processes, threads, cores = (
            f"{count} {noun if count == 1 else plural}"
            for count, noun, plural in (
                (self.processes, "process", "processes"),
                (self.threads, "thread", "threads"),
                (self.cores, "core", "cores"),
            )
        )
        return f"{processes} x {threads} on {cores}: {self.reason}"


def plan_of(settings: ServiceSettings, cores: int) -> Plan:
    """What the settings ask for, or what suits the machine where they say `auto`.

    Args:
        settings: of the service.
        cores: physical ones that it may use.
    """
    threads = settings.threads
    if settings.processes != "auto":
        reason = f"ISS_PROCESSES is {settings.processes}"
        if settings.processes * threads > cores:
            reason += ", and they compete for cores: ISS_PROCESSES=auto would not"
        return Plan(settings.processes, threads, cores, reason)
    by_cores = max(1, min(cores // threads, MAX_PROCESSES))
    by_memory = max(1, settings.memory_limit_bytes // LEAST_BYTES)
    if by_memory < by_cores:
        reason = (
            f"ISS_PROCESSES is auto, and ISS_MEMORY_LIMIT_BYTES has {LEAST_BYTES >> 20} MiB for no "
            "more"
        )
        return Plan(by_memory, threads, cores, reason)
    reason = "ISS_PROCESSES is auto: a core for every thread of a run (ISS_THREADS)"
    if "threads" not in settings.model_fields_set:
        # `python -m benchmarks.processes`: of one core more a process makes more than a thread.
        reason = "ISS_PROCESSES is auto: a core each, as second threads gain less"
    return Plan(by_cores, threads, cores, reason)
