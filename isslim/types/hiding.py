"""Addresses and texts without the secrets in them, for whatever is printed, logged or answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

HIDDEN = "***"
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/+)?(.*)", re.DOTALL)
"""Scheme and slashes, also where a slash was forgotten; the rest."""
_WORD = re.compile(r"[^\s'\"<>`]+")
"""Of a text. Whether it is an address is asked apart: senders choose how long a word is."""
_PORT = re.compile(r"^([^/:\[\]]*):(?!\d*(?:[/?#]|$))[^/]*")
"""A host, and behind its colon what is no port: a password, where the host was forgotten."""
_NAMED_SECRETS = re.compile(r"(?:SECRET|PASSWORD|PASSWD|TOKEN|KEY|HEADERS)$")
"""Ends of names of variables that hold a secret: `AWS_SECRET_ACCESS_KEY`, `OTEL_..._HEADERS`."""
_SHORTEST = 6
"""Characters of a secret that is looked for in texts: shorter ones are parts of usual words."""


def shown_address(address: str) -> str:
    """An address as it may be shown: without user, password and what its query holds.

    What cannot be told from a secret is hidden too, as a person may have mistyped the address.

    Args:
        address: the whole of it, or what should be one.
    """
    shown = _without_user(address)
    scheme, rest = _parts(shown)
    return scheme + _PORT.sub(rf"\1:{HIDDEN}", rest, count=1)


def shown_value(text: str) -> str:
    """What a person entered, for a message: as an address if it looks like one."""
    return shown_address(text) if ":/" in text else without_credentials(text)


def without_credentials(text: str) -> str:
    """A text whose addresses show neither users nor passwords nor queries.

    An address is a word with a scheme, or with a user and a password.
    """
    if ":" not in text:
        return text
    return _WORD.sub(lambda found: _word_without_user(found[0]), text)


def _word_without_user(word: str) -> str:
    is_address = ":/" in word or "@" in word.partition(":")[2]
    return _without_user(word) if is_address else word


def hiding_values(environment: Mapping[str, str]) -> Callable[[str], str]:
    """What takes the secrets of an environment's variables, and those in addresses, out of texts.

    Args:
        environment: of the process; names that mean a secret end with `KEY`, `TOKEN` and such.
    """
    values: set[str] = set()
    for name, value in environment.items():
        if _NAMED_SECRETS.search(name.upper()):
            values.add(value)
            # A header in a list of them: `authorization=Bearer geheim,tenant=a`.
            for each in value.split(",") if name.upper().endswith("HEADERS") else ():
                values |= {each.strip(), each.partition("=")[2].strip()}
    long = sorted((each for each in values if len(each) >= _SHORTEST), key=len, reverse=True)
    if not long:
        return without_credentials
    pattern = re.compile("|".join(map(re.escape, long)))
    return lambda text: without_credentials(pattern.sub(HIDDEN, text))


def _parts(address: str) -> tuple[str, str]:
    found = _ADDRESS.fullmatch(address)
    return (found[1] or "", found[2]) if found else ("", address)


def _without_user(address: str) -> str:
    scheme, rest = _parts(address)
    # The last one: a password that was not escaped may hold the signs that end a host.
    user, at, place = rest.rpartition("@")
    if at and "?" in user:
        return f"{scheme}{HIDDEN}"  # a query that holds an address, or a password with a `?`
    place, query, _ = place.partition("?")
    return f"{scheme}{f'{HIDDEN}@' if at else ''}{place}{f'?{HIDDEN}' if query else ''}"
