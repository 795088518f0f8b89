"""Forms that have arrived to their end: the framework takes those that are cut off, too."""

from __future__ import annotations

from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.types import Message, Receive

from isslim.service.problems import RequestError

_END, _KEPT = "isslim.form_end", 4096
"""Where a request's scope holds the end of its form; bytes of it, among which its last boundary is:
what may follow that means nothing."""


class FormEnd:
    """Keeps the end of a form.

    Of a form that is cut off the framework drops the last part, and says nothing: a request would
    be done without a file or the options that it was sent with.

    Args:
        receive: of the request.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive, self.kept = receive, b""

    async def receive(self) -> Message:
        """The next message of the request."""
        message = await self._receive()
        self.kept = (self.kept + message.get("body", b"")[-_KEPT:])[-_KEPT:]
        return message


def keeping_end(request: Request) -> Request:
    """The same request, of whose form `refuse_cut_off` can tell whether it is whole.

    Args:
        request: whose body was not read yet.
    """
    end = FormEnd(request.receive)
    request.scope[_END] = end
    return Request(request.scope, end.receive)


def refuse_cut_off(request: Request) -> None:
    """Refuses a form whose end did not arrive.

    Args:
        request: whose form was read.

    Raises:
        RequestError: (invalid-request) saying what has to be there.
    """
    end: FormEnd = request.scope[_END]
    _, parameters = parse_options_header(request.headers["content-type"])
    last = b"--" + parameters.get(b"boundary", b"") + b"--"
    if last not in end.kept:
        raise RequestError(
            "invalid-request",
            f"the form is cut off: it has to end with {last.decode('latin-1')}, and its last part "
            "may be missing; send it whole, by a library that writes it, such as curl's -F",
        )
