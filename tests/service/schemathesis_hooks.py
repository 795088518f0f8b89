"""Cases of schemathesis that are meant to be wrong, and arrive as what is right."""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis import Case, HookContext

NOT_IN_FORMS = {"type", "format"}
"""Keywords that a form does not carry: a text for a file arrives as bytes, which it may be, an
object for its text as that text, and an empty array as no field at all."""


@schemathesis.hook
def filter_case(context: HookContext, case: Case[Any]) -> bool:
    """Leaves out forms that break nothing but what a form does not carry."""
    if case.meta is None or case.media_type != "multipart/form-data":
        return True
    broken = [set(each.keywords) for each in case.meta.phase.data.mutations]
    return not broken or any(not each <= NOT_IN_FORMS for each in broken)
