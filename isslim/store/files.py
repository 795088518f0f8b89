"""Files written whole or not at all, and their hashes; needs the standard library only."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isslim.store.errors import OutOfSpace

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The system's errors when a disk, a quota or a limit on files is reached."""


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """A temporary file beside `target`, which it replaces when the block ends without an error.

    After an error it is removed, and `target` is unchanged.

    Raises:
        OutOfSpace: when the disk is full.
    """
    temporary = target.parent / f".partial-{secrets.token_hex(8)}"
    try:
        # The system applies the umask; `tempfile` would make a file that only its owner may read.
        temporary.touch(0o666, exist_ok=False)
        with noticing_full_disk(target.name):
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def noticing_full_disk(name: str) -> Iterator[None]:
    """Converts the system's errors of a full disk to one class, for a block that writes a file.

    Args:
        name: of the file, for the message.

    Raises:
        OutOfSpace: when the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise OutOfSpace(f"'{name}'") from error
        raise


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
