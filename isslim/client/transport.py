"""HTTP requests to one service: sends files and JSON, returns answers and raises problems."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import httpx

from isslim.client.beside import data_beside
from isslim.client.events import (
    SILENCE_SECONDS,
    Event,
    Position,
    follow,
    lines_of,
    read_events,
)
from isslim.client.forms import ProblemError, Unreachable, WrongSetting
from isslim.types.hiding import shown_address, without_credentials
from isslim.types.kinds.uploads import Companions
from isslim.types.recipe import Recipe

KEY = "ISS_API_KEY"
"""Variable that holds the key of a service that asks for one."""


class Transport:
    """Talks to one service.

    Args:
        url: its address.
        timeout: seconds for one answer; a comparison of a large model takes a while.
        key: of the service; None: what `ISS_API_KEY` holds, if anything.

    Raises:
        WrongSetting: when the address, the key or a proxy's address cannot be one.

    Attributes:
        answered: whether the service has answered at all.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8000", timeout: float = 300.0, key: str | None = None
    ) -> None:
        check_address(url)
        self.url, self._timeout, self.answered = url, timeout, False
        held, source = (
            (os.environ.get(KEY, ""), KEY) if key is None else (key, "the argument `key`")
        )
        address = httpx.URL(url)
        user = (address.username, address.password) if address.userinfo else None
        try:
            self._http = httpx.Client(
                # Without the password, which the library would write to a program's log.
                base_url=address.copy_with(userinfo=b""),
                auth=user,
                timeout=timeout,
                event_hooks={"response": [self._notice]},
                headers=authorization(held, source),
            )
        except (httpx.InvalidURL, ValueError):  # the address was checked
            # The library's words quote parts of it, and a proxy's address holds a password.
            raise WrongSetting(
                "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY holds no address of a proxy, such as "
                "http://127.0.0.1:3128"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def _notice(self, _response: httpx.Response) -> None:
        self.answered = True

    def ready(self) -> bool:
        """Whether the service is ready."""
        try:
            return self._http.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def _upload(
        self,
        path: str,
        model: Path,
        companions: Companions,
        recipe: Recipe | None,
        data: dict[str, str],
    ) -> Any:
        options = (recipe or Recipe()).model_dump_json(exclude_none=True)
        paths: dict[str, Any] = {"model": model, **companions}
        for graph in ("model", "check_graph"):
            if paths.get(f"{graph}_data") is None and paths.get(graph) is not None:
                paths[f"{graph}_data"] = data_beside(paths[graph])
        with ExitStack() as stack:
            files = {
                name: stack.enter_context(file.open("rb"))
                for name, file in paths.items()
                if file is not None
            }
            return self._ask("POST", path, files=files, data={"options": options, **data})

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        return self._json(self._raw(method, path, **content))

    def _page(self, path: str) -> tuple[Any, str]:
        """A page of a list, and the query of the next one; empty: there is none.

        Args:
            path: of the page, with its query.
        """
        response = self._raw("GET", path)
        return self._json(response), response.links.get("next", {}).get("url", "")

    def _json(self, response: httpx.Response) -> Any:
        """What an answer holds; what is no JSON does not come from a service."""
        try:
            return response.json()
        except ValueError as error:
            raise Unreachable(
                f"what answers at {shown_address(self.url)} is no isslim service"
            ) from error

    def _raw(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **content)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        _raise_problem(response)
        return response

    def _events(self, path: str) -> Iterator[Event]:
        """The events of a path; see `follow` for how they end.

        Raises:
            EventsUnavailable: when there are none to be had.
            Unreachable: when the service cannot be reached.
        """
        timeout = httpx.Timeout(self._timeout, read=SILENCE_SECONDS)
        try:
            yield from follow(
                lambda headers: self._http.stream("GET", path, headers=headers, timeout=timeout)
            )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error

    def _posted_events(self, path: str, body: Any) -> Iterator[Event]:
        """The events that answer a body; they come once, over one connection.

        Args:
            path: that is asked.
            body: sent as JSON.

        Raises:
            ProblemError: when the service refuses it, at once or on the way.
            Unreachable: when the service cannot be reached, or the connection breaks off.
        """
        try:
            with self._http.stream("POST", path, json=body) as response:
                if not response.is_success:
                    response.read()
                    _raise_problem(response)
                for event in read_events(lines_of(response.iter_bytes()), Position()):
                    if event.name == "problem":
                        said = json.loads(event.data)
                        raise ProblemError(
                            said["status"], said["type"], said["detail"], said["errors"]
                        )
                    yield event
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error

    def _download(self, path: str, target: BinaryIO) -> str:
        """Writes what a path answers.

        Args:
            path: of a file.
            target: is written to.

        Returns:
            The SHA-256 of what was written.

        Raises:
            ProblemError: when the service refuses it.
            Unreachable: when the service cannot be reached, or the connection breaks off.
        """
        digest = hashlib.sha256()
        try:
            with self._http.stream("GET", path) as response:
                if not response.is_success:
                    response.read()
                    _raise_problem(response)
                for chunk in response.iter_bytes():
                    digest.update(chunk)
                    target.write(chunk)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        return digest.hexdigest()

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"no service answers at {shown_address(self.url)}: {without_credentials(str(error))}; "
            "is it running? (isslim serve)"
        )


def _raise_problem(response: httpx.Response) -> None:
    """Raises the problem that a response describes, if it is no success."""
    if response.is_success:
        return
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {}
    raise ProblemError(
        response.status_code,
        body.get("type", "http"),
        body.get("detail", response.text),
        body.get("errors", []),
    )


def check_address(url: str) -> None:
    """Refuses what cannot be a service's address.

    Raises:
        WrongSetting: saying what is wrong with it.
    """
    try:
        url.encode()
        parsed = httpx.URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError("it begins with no http:// or https://, or names no host")
        if parsed.port is not None and not 0 < parsed.port < 1 << 16:
            raise ValueError(f"there is no port {parsed.port}")
        if any(sign.isspace() for sign in url):
            raise ValueError("it holds a blank")
    except UnicodeError as error:
        shown = url.encode(errors="backslashreplace").decode()
        raise WrongSetting(f"'{shown_address(shown)}' is no address: it is not UTF-8") from error
    except (httpx.InvalidURL, ValueError) as error:
        # The library's own words quote a part, which may be one of a password.
        reason = "host or port cannot be read" if isinstance(error, httpx.InvalidURL) else error
        raise WrongSetting(
            f"'{shown_address(url)}' is no address, such as http://127.0.0.1:8000: {reason}"
        ) from None


def authorization(key: str, source: str) -> dict[str, str]:
    """The header that sends a key.

    Args:
        key: of the service; empty: none.
        source: the option, variable or argument that holds it, for the message.

    Raises:
        WrongSetting: when it cannot be a key; it is not quoted, whatever it is.
    """
    key = key.strip()
    if not key:
        return {}
    if re.fullmatch(r"[!-~]+", key) is None:
        found = "characters that are not ASCII" if not key.isascii() else "blanks or line ends"
        raise WrongSetting(
            f"{source} holds no key: {found} are in it. A key is one word of ASCII characters, as "
            "`isslim keys new` prints it; copy it again"
        )
    return {"authorization": f"Bearer {key}"}


def part(name: str) -> str:
    """A name escaped as one part of a path: otherwise a `?` or `#` in it would cut the path short.

    Raises:
        ProblemError: when it holds a slash, as no name does; a service may read it as two parts
            even when escaped.
    """
    if "/" in name:
        raise ProblemError(
            404, "not-found", f"there is nothing of the name '{name}': names hold no slash", []
        )
    return quote(name, safe="")
