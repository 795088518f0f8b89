"""Arrays in answers: their limits, and as lists of JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.service.problems import RequestError
from isslim.settings.service import ServiceSettings

Array = NDArray[Any]


def check_entries(arrays: Iterable[Array], settings: ServiceSettings, hint: str) -> None:
    """Refuses an answer of too many numbers as JSON.

    Args:
        arrays: of the answer.
        settings: the limit.
        hint: what to do instead.

    Raises:
        RequestError: (too-large).
    """
    entries = sum(array.size for array in arrays)
    if entries > settings.entries_limit:
        raise RequestError(
            "too-large",
            f"the answer would hold {entries:,} numbers; at most {settings.entries_limit:,} as "
            f"JSON: {hint}",
        )


def check_bytes(arrays: Iterable[Array], settings: ServiceSettings) -> None:
    """Refuses an answer that is too large.

    Args:
        arrays: of the answer.
        settings: the limit.

    Raises:
        RequestError: (too-large).
    """
    total, most = sum(array.nbytes for array in arrays), settings.array_bytes_limit
    if total > most:
        raise RequestError(
            "too-large",
            f"the answer would take {total:,} bytes; at most {most:,}: name fewer `outputs`",
        )


def not_finite(array: Array) -> int:
    """How many numbers are not finite."""
    return int(array.size - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0


def listed(array: Array) -> Any:
    """Nested lists; JSON has no numbers that are not finite."""
    if not_finite(array):
        known = np.isfinite(array)
        array = array.astype(np.object_)
        array[~known] = None
    return array.tolist()
