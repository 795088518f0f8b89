"""Metrics that every process of ours has: its build, its interpreter, and what it takes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from isslim import __version__

_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
"""Packages that bring ONNX Runtime."""


def runtime_version() -> str:
    """The version of ONNX Runtime that is installed; empty: none. It is not imported."""
    for package in _RUNTIMES:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""


class BuildInfo(Collector):
    """`isslim_build_info`: always 1; its labels are the versions."""

    def collect(self) -> Iterator[Metric]:
        """The metric."""
        facts = {
            "version": __version__,
            "onnxruntime": runtime_version(),
            "python": platform.python_version(),
        }
        family = GaugeMetricFamily(
            "isslim_build_info", "Versions, as labels of the constant 1", labels=list(facts)
        )
        family.add_metric(list(facts.values()), 1)
        yield family


class ProcessesCollector(Collector):
    """`process_*` of several processes, which tells them apart by the label `pid`.

    They are not added up: the processor time of one that ended would be missing from a sum, and a
    sum that falls looks like a new start.

    Args:
        pids: of the processes.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids

    def collect(self) -> Iterator[Metric]:
        """The metrics of those that have not ended."""
        families: dict[str, Metric] = {}
        for pid in self._pids:
            for each in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                family = families.setdefault(
                    each.name, Metric(each.name, each.documentation, each.type)
                )
                for sample in each.samples:
                    family.add_sample(sample.name, {"pid": str(pid)}, sample.value)
        yield from families.values()


def register_own(registry: CollectorRegistry) -> None:
    """Adds the metrics of this process, where it is the only one of its service."""
    registry.register(BuildInfo())
    PlatformCollector(registry)
    ProcessCollector(registry=registry)
    GCCollector(registry)


def register_processes(registry: CollectorRegistry, folder: str) -> None:
    """Adds the metrics of all processes that share the files of `prometheus_client`.

    Args:
        registry: of the sums of all of them.
        folder: of the files; those of a process's gauges are gone when it has ended.
    """
    names = (each.name for each in os.scandir(folder) if each.name.startswith("gauge_live"))
    pids = {int(name.removesuffix(".db").rpartition("_")[2]) for name in names}
    registry.register(BuildInfo())
    PlatformCollector(registry)
    registry.register(ProcessesCollector(sorted(pids)))
