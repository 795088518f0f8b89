"""What is wrong with a form that cannot be taken apart, in words; the framework's are one line."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import (
    DEFAULT_MAX_HEADER_COUNT,
    DEFAULT_MAX_HEADER_SIZE,
    MAX_BOUNDARY_LENGTH,
)
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

_ADVICE = {
    "Maximum header size exceeded": (
        f"a header of one of its parts has more than {DEFAULT_MAX_HEADER_SIZE:,} bytes, which is "
        "the most that is taken: it holds the names of field and file, so send the file under a "
        "shorter name"
    ),
    "Maximum header count exceeded": (
        f"one of its parts has more than {DEFAULT_MAX_HEADER_COUNT} headers, which is the most "
        "that is taken: send Content-Disposition, and at most Content-Type"
    ),
    "Boundary length": (
        f"its boundary has more than {MAX_BOUNDARY_LENGTH} bytes, which is the most that is taken: "
        "take a shorter one"
    ),
    "Missing boundary": (
        "Content-Type names no boundary: leave the header to your library, which makes one up "
        "(multipart/form-data; boundary=...)"
    ),
    "Part exceeded": (
        f"a field that is no file has more than {MultiPartParser.max_part_size:,} bytes, which is "
        "the most that is taken: send a file with a file name (curl: -F name=@file)"
    ),
    "Too many f": "it has more files or other fields than any request here: send each once",
    "The Content-Disposition": (
        "one of its parts has no name: each begins with "
        'Content-Disposition: form-data; name="<field>"'
    ),
}
"""What to say, by the beginning of what the libraries say."""


def form_error(error: HTTPException) -> str | None:
    """What was found in a form, what was expected, and what to do.

    Args:
        error: of the framework, which it raised while it read a body.

    Returns:
        None when the body was no form.
    """
    fault = error.__context__
    if not isinstance(fault, MultiPartException):
        return None
    cause = fault.__cause__
    said = str(cause) if isinstance(cause, FormParserError) else fault.message
    for beginning, advice in _ADVICE.items():
        if said.startswith(beginning):
            return f"the form cannot be read: {advice}"
    return (
        f"the form cannot be read as multipart/form-data: {said.rstrip('.')}; let a library write "
        "it, such as curl's -F"
    )
