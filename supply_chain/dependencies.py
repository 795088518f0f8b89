"""The packages of each image and of the client, as they are installed here and pinned."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
PARTS = ("service", "worker", "client", "grpc", "otel", "hub", "mlflow")
"""Extras that somebody installs; an image has those of its name."""


@dataclass(frozen=True)
class Package:
    """A dependency.

    Attributes:
        name: of the package.
        version: that is pinned.
        licence: as the package itself says.
    """

    name: str
    version: str
    licence: str


def normal(name: str) -> str:
    """A package's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    """The version of every package in `constraints.txt`, by its normal name."""
    lines = CONSTRAINTS.read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {normal(name): version for name, version in pairs}


def packages_of(extra: str) -> list[Package]:
    """What an extra brings, with all that it needs in turn; what is not pinned is left out.

    What is not pinned is of another platform, such as CUDA's libraries.

    Args:
        extra: of isslim.
    """
    versions = pinned()
    found: dict[str, Package] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [("isslim", extra), ("isslim", "")]
    while waiting:
        name, asked = waiting.pop()
        if name != "isslim" and name in versions:
            there = distribution(name)
            found[name] = Package(str(there.metadata["Name"]), versions[name], licence_of(there))
        for requirement in _needed(name, asked):
            for each in ("", *requirement.extras):
                pair = normal(requirement.name), each
                if pair not in seen:
                    seen.add(pair)
                    waiting.append(pair)
    return sorted(found.values(), key=lambda each: normal(each.name))


def _needed(name: str, extra: str) -> list[Requirement]:
    """What a package needs on this machine; nothing where it is not installed.

    Args:
        name: of the package; isslim's own are those of its project file.
        extra: of it; empty: none.
    """
    if name == "isslim":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
        return [Requirement(line) for line in lines]
    try:
        wanted = map(Requirement, distribution(name).requires or ())
    except PackageNotFoundError:
        return []
    return [
        each for each in wanted if each.marker is None or each.marker.evaluate({"extra": extra})
    ]


def licence_of(package: Distribution) -> str:
    """What a package says of its licence, in a few words; empty: nothing."""
    facts = package.metadata.json
    if expression := facts.get("license_expression"):
        return str(expression)
    classified = [
        str(each).rpartition(" :: ")[2]
        for each in facts.get("classifier", ())
        if str(each).startswith("License :: ") and each != "License :: OSI Approved"
    ]
    if classified:
        return ", ".join(classified)
    lines = str(facts.get("license", "")).strip().splitlines()
    return lines[0].strip() if lines and len(lines[0]) < 60 else ""
