"""Who may ask the service, from `ISS_*` environment variables."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

from isslim.store.settings import FROM_ENVIRONMENT
from isslim.types.access import RATE, read_keys
from isslim.types.units import MOST_DAYS, Bytes, Count, Unit

_HOST_NAME = re.compile(r"[^\s:/?#@*\[\]]+")


def _holds_keys(path: Path | None) -> Path | None:
    """Refuses a file of keys that cannot be read, before anybody is refused for it."""
    if path is None:
        return None
    try:
        _, issues = read_keys(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ValueError(f"expected a file of keys that can be read ({reason})") from error
    if issues:
        raise ValueError(f"{'; '.join(issues)} (`isslim keys new NAME` prints a line)")
    return path


def _are_addresses(text: str) -> str:
    """Refuses what no proxy's address can be: a misspelt one would be believed nothing."""
    for each in filter(None, (part.strip() for part in text.split(","))):
        if each != "*":
            try:
                ip_network(each)
            except ValueError as error:
                raise ValueError(
                    f"expected addresses and networks such as 10.0.0.0/8, with commas between "
                    f"them; {each[:60]!r} is none"
                ) from error
    return text


def _are_names(text: str) -> str:
    """Refuses what a `Host` is never compared with: it is looked at without its port."""
    for each in filter(None, (part.strip() for part in text.split(","))):
        if each != "*" and _HOST_NAME.fullmatch(each) is None and not _is_address(each):
            raise ValueError(
                f"expected names such as models.example.org, with commas between them; "
                f"{each[:60]!r} is none: leave scheme, port, path and wildcards out"
            )
    return text


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class AccessSettings(BaseSettings):
    """Who may ask the service ([deploy.md](deploy.md#access))."""

    model_config = FROM_ENVIRONMENT

    api_keys_file: Annotated[Path | None, AfterValidator(_holds_keys), Unit("path")] = Field(
        default=None,
        description="file of keys, a line `<name> <scopes> <SHA-256>` each, as `isslim keys new` "
        "prints it; read again when it changes. None: no key is asked for",
    )
    allowed_hosts: Annotated[str, AfterValidator(_are_names), Unit("names")] = Field(
        default="",
        description="where no key is asked for: further names by which the service may be "
        "addressed (`Host`), with commas between them; `*`: any, which lets web pages of strangers "
        "use it",
    )
    root_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$"), Unit("path")] = Field(
        default="",
        description="path below which a reverse proxy shows the service, such as `/isslim`; the "
        "proxy may pass it on or take it off",
    )
    trusted_proxies: Annotated[str, AfterValidator(_are_addresses), Unit("addresses")] = Field(
        default="",
        description="addresses and networks of reverse proxies, with commas between them, whose "
        "`X-Forwarded-For` and `X-Forwarded-Proto` are believed; none: nobody's",
    )
    metrics_open: Annotated[bool, Unit("true or false")] = Field(
        default=True, description="whether `/metrics` is answered without a key"
    )

    rate: Annotated[str | None, Field(pattern=RATE), Unit("requests/time")] = Field(
        default=None,
        description="requests that a key may send in a time, or an address where no key is asked "
        "for, such as `60/minute` or `1000/hour`; more are refused with 429. None: any number",
    )
    quota_upload_bytes: Bytes = Field(
        default=20 << 30,
        description="uploads that are kept for one key; a key's line may name another number",
    )
    quota_jobs: Count = Field(default=50, description="jobs of one key, queued and running")
    quota_inspections: Count = Field(
        default=20, description="inspections of one key, queued and running"
    )
    quota_models: Count = Field(default=200, description="models of one key")
    quota_aliases: Count = Field(default=200, description="aliases that one key has made")
    keep_audit_days: Annotated[float, Field(gt=0, le=MOST_DAYS), Unit("days")] = Field(
        default=90.0, description="how long entries of the audit trail are kept"
    )
    keep_audit_entries: Count = Field(
        default=100_000, description="entries of the audit trail that are kept, about"
    )

    @property
    def hosts(self) -> frozenset[str]:
        """`allowed_hosts`, one by one, in lower case."""
        names = (each.strip().lower() for each in self.allowed_hosts.split(","))
        return frozenset(each for each in names if each)


def is_loopback(host: str) -> bool:
    """Whether a name or address, without brackets, means this machine and is reached from it alone.

    Names other than `localhost` may mean anything.
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
