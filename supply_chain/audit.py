"""Known weaknesses of the pinned packages: `make audit`; it needs PyPI's vulnerability service.

It ends with 0 if there is none, or each is explained in `supply_chain/explained.toml`; with 1 if
one is not; with 2 if the service does not answer, or does not know the packages, as a mirror may
not: then nothing was looked at, which is no good news.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supply_chain.dependencies import CONSTRAINTS

EXPLAINED = Path(__file__).parent / "explained.toml"
CLEAN, FOUND, NOT_LOOKED_AT = 0, 1, 2
LEAST_KNOWN = 0.9
"""Part of the packages that the service has to know: a local build is none of its."""


def judged(report: Mapping[str, Any], explained: Mapping[str, str]) -> tuple[int, list[str]]:
    """The exit status, and lines that say why.

    Args:
        report: of pip-audit, as JSON.
        explained: why a weakness does not matter here, by its id.
    """
    packages = report["dependencies"]
    skipped = [each for each in packages if "skip_reason" in each]
    if len(skipped) > (1 - LEAST_KNOWN) * len(packages):
        return NOT_LOOKED_AT, [
            f"{len(skipped)} of {len(packages)} packages are not known to the vulnerability "
            "service: it cannot be reached from here, or a mirror answers in its place. Run "
            "`make audit` where PyPI itself can be reached"
        ]
    open_ones, seen = list[str](), set[str]()
    for package in packages:
        for each in package.get("vulns", ()):
            ids = {each["id"], *each.get("aliases", ())}
            seen |= ids
            if not ids & explained.keys():
                fixed = ", ".join(each.get("fix_versions", ())) or "no release yet"
                open_ones.append(
                    f"{package['name']} {package['version']}: {each['id']}, mended in {fixed}"
                )
    stale = sorted(explained.keys() - seen)
    open_ones += [f"{each} is explained and was not found: remove it" for each in stale]
    unknown = [f"not known to the service: {each['name']}" for each in skipped]
    return (FOUND if open_ones else CLEAN), open_ones + unknown


def main() -> int:
    """Asks, and prints what was found; returns the exit status."""
    command = [
        *(sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS)),
        *("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"),
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    try:
        report = json.loads(ran.stdout)
    except ValueError:
        last = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
        sys.stderr.write(f"the vulnerability service does not answer: {last}\n")
        return NOT_LOOKED_AT
    status, lines = judged(report, tomllib.loads(EXPLAINED.read_text()))
    sys.stderr.writelines(f"{line}\n" for line in lines)
    if status == CLEAN:
        sys.stdout.write(f"{len(report['dependencies'])} packages: nothing is open\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
