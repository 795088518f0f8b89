"""Compresses recurrent networks: ingest, search, prune, repair, export, verify, measure.

The package can be called: `isslim.compress(model, data, ...)` is the function
`isslim.compress.library.compress`. Its modules, such as `isslim.compress.errors`, are imported as
those of any package.
"""

import inspect as _inspect
import sys as _sys
from types import ModuleType as _ModuleType
from typing import Any as _Any

from isslim import runtime as runtime  # before ONNX Runtime is: see there
from isslim.compress.library import compress as _compress


class _CallablePackage(_ModuleType):
    """This package as a function; its name is the public one of the function and of the folder."""

    def __call__(self, *arguments: _Any, **options: _Any) -> _Any:
        return _compress(*arguments, **options)

    __call__.__doc__ = _compress.__doc__

    @property
    def __signature__(self) -> _inspect.Signature:
        return _inspect.signature(_compress)


_sys.modules[__name__].__class__ = _CallablePackage
_first, _rest = (_inspect.getdoc(_compress) or "").split("\n", 1)
# `help` of a module prints its docstring, and the files of the package after it.
__doc__ = f"{_first}\n\nisslim.compress{_inspect.signature(_compress)}\n{_rest}\n\n{__doc__}"
