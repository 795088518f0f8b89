"""Kinds of models that are not part of the product: packages that `ISS_KINDS` names.

Such a package has up to four modules, each imported only where it is needed:

    description.py   `register()` registers the kind's description        everywhere
    runtime.py       `register()` registers the class of loaded models    the service
    service.py       `router`, with the routes that serve its models      the service
    compression.py   `register()` registers the reader of its uploads     the worker's child
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

DESCRIPTION, RUNTIME, SERVICE, COMPRESSION = "description", "runtime", "service", "compression"
"""Names of a plug-in's modules."""


class BadPlugin(ImportError):
    """A package that `ISS_KINDS` names cannot be used."""


def check_plugins(packages: list[str]) -> list[str]:
    """The packages, if each has a description; runs nothing of a plug-in but its `__init__`.

    Raises:
        ValueError: naming the first that has none, or cannot be imported.
    """
    for package in packages:
        try:
            there = find_spec(f"{package}.{DESCRIPTION}")
        except ImportError as error:
            raise ValueError(f"'{package}' cannot be imported: {error}") from error
        if there is None:
            raise ValueError(f"'{package}' has no module '{DESCRIPTION}'")
    return packages


def load_plugins(packages: Sequence[str], *modules: str) -> None:
    """Registers the kinds of plug-ins in this process, with the modules that it needs.

    Args:
        packages: importable names, as `ISS_KINDS` lists them.
        modules: which of each package's modules register something here; the descriptions always
            do, and first.

    Raises:
        BadPlugin: when a module cannot be imported, or has no `register`.
    """
    for package in packages:
        for name in (DESCRIPTION, *modules):
            plugin_module(package, name).register()


def plugin_module(package: str, name: str) -> ModuleType:
    """A module of a plug-in.

    Args:
        package: importable name of the plug-in.
        name: of the module in it.

    Raises:
        BadPlugin: when it cannot be imported.
    """
    try:
        return import_module(f"{package}.{name}")
    except ImportError as error:
        raise BadPlugin(
            f"ISS_KINDS names '{package}', and '{package}.{name}' cannot be imported: {error}"
        ) from error
