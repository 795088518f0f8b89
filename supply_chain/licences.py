"""The page of licences: `python -m supply_chain.licences > docs/licences.md`."""

from __future__ import annotations

import sys

from supply_chain.dependencies import PARTS, Package, normal, packages_of

HEAD = """\
# Licences of dependencies

<!-- Printed by `python -m supply_chain.licences`: change what is installed, not this page. -->

isslim itself is under the MIT licence. These are the packages that its extras bring, in the
versions of `constraints.txt`, with the licences that the packages name themselves. A test compares
the page with what is installed; another refuses licences that would bind those who pass isslim on
(GPL, AGPL) without a reason.

"""
BINDING = ("GPL",)
"""Parts of names of licences that bind more than the package itself; the LGPL does not."""
REASONS: dict[str, str] = {}
"""Why a package of such a licence is used nevertheless, by its normal name."""


def page() -> str:
    """The page: a row for each package."""
    users: dict[Package, list[str]] = {}
    for part in PARTS:
        for package in packages_of(part):
            users.setdefault(package, []).append(part)
    rows = [
        f"| {package.name} | {package.version} | {package.licence or 'not named'} | "
        f"{', '.join(parts)} |"
        for package, parts in sorted(users.items(), key=lambda each: normal(each[0].name))
    ]
    heading = ["| package | version | licence | extras |", "| --- | --- | --- | --- |"]
    table = "\n".join([*heading, *rows])
    return f"{HEAD}{table}\n"


def binding(packages: list[Package]) -> list[str]:
    """The packages whose licence binds those who pass isslim on, and that have no reason.

    Args:
        packages: to look at.
    """
    return [
        each.name
        for each in packages
        if any(part in each.licence.replace("LGPL", "") for part in BINDING)
        and " OR " not in each.licence
        and normal(each.name) not in REASONS
    ]


if __name__ == "__main__":
    sys.stdout.write(page())
