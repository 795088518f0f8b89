"""isslim makes trained recurrent networks small and fast, proves it, and serves both versions.

    >>> import isslim
    >>> small = isslim.compress(module, calls, budget=0.02)

Names are loaded on first use, so that `import isslim` is fast: it loads no torch,
no ONNX Runtime, no database, and not even NumPy. `compress` is a function and the package of its
implementation at the same time, see there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isslim.client.api import Client
    from isslim.compress.library.compressed import Compressed
    from isslim.compress.library.entry import compress
    from isslim.types.recipe import Budget, Recipe

    __version__: str

__all__ = ["Budget", "Client", "Compressed", "Recipe", "__version__", "compress"]

_HOMES = {
    "Client": "isslim.client.api",
    "Budget": "isslim.types.recipe",
    "Compressed": "isslim.compress.library.compressed",
    "Recipe": "isslim.types.recipe",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # Of the installed package: pyproject.toml is the one place where the version is written.
        return import_module("importlib.metadata").version("isslim")
    if name == "compress":
        return import_module("isslim.compress")
    if name not in _HOMES:
        raise AttributeError(f"module 'isslim' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
