"""isslim makes trained recurrent networks small and fast, proves it, and serves both versions.

    >>> from isslim import Client, Recipe

Names are loaded when they are first asked for, so that `import isslim` costs nothing: no torch, no
ONNX Runtime, no database.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isslim.client.api import Client
    from isslim.types.recipe import Budget, Recipe

__all__ = ["Budget", "Client", "Recipe", "__version__"]

__version__ = version("isslim")

_HOMES = {
    "Client": "isslim.client.api",
    "Budget": "isslim.types.recipe",
    "Recipe": "isslim.types.recipe",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'isslim' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
