"""Errors in the words of a caller: all that is known is in the text that Python prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from isslim.compress.errors import BudgetNotMet, CompressError

SHOWN = 20
"""Issues that the text of an error lists."""


@contextmanager
def in_full() -> Iterator[None]:
    """Puts the issues of a `CompressError` into its text; `detail` and `issues` stay as they are.

    A field of an upload is named there as the argument that it comes from is.

    A service answers with both fields. A program's traceback shows `str(error)` alone.
    """
    try:
        yield
    except CompressError as error:
        error.args = (_text(error),)
        raise


def _text(error: CompressError) -> str:
    more = [issue for issue in error.issues if issue not in error.detail]
    lines = [error.detail, *(f"- {issue}" for issue in more[:SHOWN])]
    if len(more) > SHOWN:
        lines.append(f"- and {len(more) - SHOWN} more: see `issues` of this error")
    if isinstance(error, BudgetNotMet):
        lines.append("The curve, every size that was tried with its loss, is `curve` of this error")
    return "\n".join(lines).replace("`calibration`", "`data`")
