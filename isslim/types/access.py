"""Keys of the service: what each may do, and the line of the file that says so.

    <name> <scopes> <SHA-256 of the key> [<limit>=<value> ...]

`laptop read,score 9f86d0... rate=120/minute` is one. The file holds no key, only their hashes: who
reads it cannot use the service. Keys are 256 random bits, so that a plain hash is enough.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from isslim.types.names import NAME

KEY_PREFIX, KEY_BYTES = "iss_", 32
"""What every key begins with, so that scanners of source code find one that was published."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_COUNTED = ("upload_bytes", "jobs", "models", "inspections", "aliases")
RATE = r"^[1-9][0-9]{0,8}/([1-9][0-9]{0,3} )?(second|minute|hour|day)s?$"
"""Of requests, such as `60/minute` or `100/5 minutes`."""


class Scope(StrEnum):
    """What a key is for."""

    READ = "read"
    SCORE = "score"
    COMPRESS = "compress"
    ADMIN = "admin"


_IMPLIED = {Scope.COMPRESS: {Scope.READ}, Scope.ADMIN: set(Scope)}
"""Who uploads has to follow its job, and an administrator may do everything."""


def with_implied(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """Scopes with those that they include."""
    named = set(scopes)
    return frozenset(named.union(*(_IMPLIED.get(each, set()) for each in named)))


@dataclass(frozen=True)
class KeyLimits:
    """Limits of one key; None: those of the settings.

    Attributes:
        upload_bytes: of the uploads that are kept.
        jobs: queued and running.
        models: published.
        inspections: queued and running.
        aliases: that it has made.
        rate: such as `60/minute`.
    """

    upload_bytes: int | None = None
    jobs: int | None = None
    models: int | None = None
    inspections: int | None = None
    aliases: int | None = None
    rate: str | None = None


@dataclass(frozen=True)
class KeyRecord:
    """A key as its line describes it.

    Attributes:
        name: of its holder; the owner of what is made with it.
        scopes: with those that they include.
        digest: hexadecimal SHA-256 of the key.
        limits: of its own.
    """

    name: str
    scopes: frozenset[Scope]
    digest: str
    limits: KeyLimits = field(default_factory=KeyLimits)


def new_key() -> str:
    """A new random key."""
    return f"{KEY_PREFIX}{secrets.token_urlsafe(KEY_BYTES)}"


def digest_of(key: bytes) -> str:
    """The hash by which a file names a key."""
    return hashlib.sha256(key).hexdigest()


def line_of(name: str, scopes: Iterable[Scope], key: str) -> str:
    """The line of the file for a key.

    Args:
        name: of its holder.
        scopes: that it is to have.
        key: which is not in the line.
    """
    named = ",".join(each for each in Scope if each in set(scopes))
    return f"{name} {named} {digest_of(key.encode())}"


def read_keys(text: str) -> tuple[list[KeyRecord], list[str]]:
    """The keys of a file.

    Args:
        text: its content; empty lines and those that begin with `#` are left out.

    Returns:
        The keys of valid lines, and an issue for each other line. An issue quotes no hash, nor
        anything that could be a key which was put there by mistake.
    """
    found: dict[str, KeyRecord] = {}
    issues: list[str] = []
    # Some editors put a byte order mark before the first line.
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            record = _record(line.split())
            if record.name in found:
                raise ValueError(f"the name '{record.name}' is in another line too")
            if any(each.digest == record.digest for each in found.values()):
                raise ValueError("the key is in another line too")
        except ValueError as error:
            issues.append(f"line {number}: {error}")
        else:
            found[record.name] = record
    return list(found.values()), issues


def _record(words: list[str]) -> KeyRecord:
    if len(words) < 3:
        raise ValueError("expected `<name> <scopes> <SHA-256 of the key>`")
    name, scopes, digest, *limits = words
    if re.fullmatch(NAME, name) is None:
        raise ValueError(
            "the name may have 64 letters, digits, dots, underscores and hyphens, the first a "
            "letter or digit"
        )
    unknown = set(scopes.split(",")) - set(Scope)
    if unknown:
        raise ValueError(f"scopes are {', '.join(Scope)}, with commas between them")
    if _DIGEST.fullmatch(digest) is None:
        raise ValueError("the third word has to be the SHA-256 of the key, 64 digits of 0-9a-f")
    chosen = with_implied(Scope(each) for each in scopes.split(","))
    return KeyRecord(name, chosen, digest, _limits(limits))


def _limits(words: list[str]) -> KeyLimits:
    numbers: dict[str, int] = {}
    rate = None
    for word in words:
        limit, _, value = word.partition("=")
        if limit == "rate" and rate is None:
            if re.match(RATE, value) is None:
                raise ValueError("rate has to be such as 60/minute")
            rate = value
        elif limit in _COUNTED and limit not in numbers:
            if _NUMBER.fullmatch(value) is None:
                raise ValueError(f"{limit} has to be a whole number")
            numbers[limit] = int(value)
        else:
            raise ValueError(f"limits are {'=, '.join(_COUNTED)}= and rate=, each at most once")
    return KeyLimits(**numbers, rate=rate)
