"""Remote storage (S3 and its like): opened with limits on waiting, its faults as one class."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from isslim.store.errors import BadAddress, StorageUnavailable
from isslim.store.settings import StoreSettings
from isslim.types.hiding import shown_address, without_credentials

CONNECT_SECONDS = 3.0
"""After which an address that does not answer at all is given up."""
NO_BUCKET = "there is no such bucket or folder"
_SIGNS = ("NoSuchBucket", "ContainerNotFound", "specified bucket does not exist")
"""In the answers of S3, Azure and Google where the bucket is missing, and not a file in it."""
ALLOW_HTTP = ("AWS_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP", "AZURE_ALLOW_HTTP")
S3_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "name of the key",
    "AWS_SECRET_ACCESS_KEY": "the key's secret",
    "AWS_SESSION_TOKEN": "token that belongs to a key of limited life",
    "AWS_REGION": "region of the bucket; `us-east-1` by default (`AWS_DEFAULT_REGION` as well)",
    "AWS_ENDPOINT_URL": "address of a server of your own, such as `http://storage:8333`; by "
    "default that of AWS in the region (`AWS_ENDPOINT` as well)",
    "AWS_ALLOW_HTTP": "`true` allows an endpoint without TLS",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "`true` puts the bucket into the host's name, as some "
    "servers require; by default it is in the path",
    "AWS_ROLE_ARN": "role that is assumed with the token of `AWS_WEB_IDENTITY_TOKEN_FILE`",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "file with the token of a workload, as Kubernetes mounts it",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "where a container on ECS gets its key; set by ECS "
    "(`AWS_CONTAINER_CREDENTIALS_FULL_URI` on EKS)",
    "AWS_METADATA_ENDPOINT": "where a machine on EC2 gets its key, if none of the others is set",
    "AWS_SKIP_SIGNATURE": "`true` sends requests without a signature, for a public bucket",
    "AWS_S3_EXPRESS": "`true` for a directory bucket",
    "AWS_CHECKSUM_ALGORITHM": "`sha256` sends a checksum with every object",
    "AWS_REQUEST_PAYER": "`true` where the requester pays",
    "AWS_SERVER_SIDE_ENCRYPTION": "`AES256`, `aws:kms` or `aws:kms:dsse`: how the server encrypts",
    "AWS_SSE_KMS_KEY_ID": "key of that encryption",
}
"""The variables that decide how S3 is reached: obstore reads them, not this project."""


def open_remote(url: str, seconds: float) -> ObjectStore:
    """The storage at a URL.

    Args:
        url: such as `s3://bucket/prefix`.
        seconds: that one request may take; one that failed is tried again for as long.

    Raises:
        BadAddress: when there can be none; the URL's secrets are not in it.
    """
    try:
        return _opened(url, seconds)
    except (BaseError, ValueError) as error:
        shown = shown_address(url)
        reason = str(error).replace(url, shown).strip().splitlines()[0]
        # The library's error quotes the whole URL: no traceback may show it.
        raise BadAddress(shown, without_credentials(reason)) from None


def check_address(settings: StoreSettings) -> None:
    """Looks whether there can be a storage at the address of the settings; nothing is asked.

    Raises:
        BadAddress: when there cannot.
    """
    if settings.artifacts_url is not None:
        open_remote(settings.artifacts_url, settings.storage_seconds)


def _opened(url: str, seconds: float) -> ObjectStore:
    if url.startswith("file:"):
        # Folders that became empty would be listed as bundles.
        return LocalStore.from_url(url, automatic_cleanup=True)
    limit = timedelta(seconds=seconds)
    return from_url(
        url,
        client_options={
            # Options that are given here replace those of the environment.
            "allow_http": any(os.environ.get(each, "").lower() == "true" for each in ALLOW_HTTP),
            "timeout": limit,
            "connect_timeout": timedelta(seconds=min(seconds, CONNECT_SECONDS)),
        },
        retry_config={"retry_timeout": limit, "max_retries": 5},
    )


@contextmanager
def noticing_outage(*, expects_it: bool = False) -> Iterator[None]:
    """Converts whatever remote storage fails with to one class.

    Args:
        expects_it: what is missing is a bucket, as no single file is asked for.

    Raises:
        StorageUnavailable: when it refuses, is too slow or cannot be reached, or says that there is
            no such bucket: that says nothing of a file.
        FileNotFoundError: when a file is missing.
    """
    try:
        yield
    except FileNotFoundError as error:
        if expects_it or _names_the_bucket(str(error)):
            raise StorageUnavailable(NO_BUCKET) from error
        raise
    except AlreadyExistsError:
        raise
    except BaseError as error:
        raise StorageUnavailable(_reason(str(error))) from error


def _names_the_bucket(text: str) -> bool:
    return any(each in text for each in _SIGNS)


def _reason(text: str) -> str:
    """What failed, without the address of the storage, its answers and the library's own view."""
    if _names_the_bucket(text):
        return NO_BUCKET
    status = re.search(r"non-2xx status code: (\d{3}[^:\n]*)", text)
    if status is not None:
        return f"it answers {status[1].strip()}"
    for known, said in (
        ("TimedOut", "it takes too long to answer"),
        ("operation timed out", "it takes too long to answer"),
        ("deadline has elapsed", "it takes too long to answer"),
        ("onnection refused", "it refuses connections"),
        ("dns error", "its name is not known"),
        ("failed to lookup address", "its name is not known"),
        ("No space left on device", "it is full"),
        ("ermission denied", "it may not be used by this user"),
    ):
        if known in text:
            return said
    return "the connection to it failed; the log says more"
