"""The operators' own tests that ship with onnx."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any


@cache
def node_cases() -> tuple[Any, ...]:
    """All of them. They are computed, which takes seconds: not while tests are collected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some overflow on purpose
        from onnx.backend.test.case.node import collect_testcases

        return tuple(collect_testcases(None))
