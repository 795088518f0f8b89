"""A secret key that the processes over one home share, made by the first that needs it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

KEY_BYTES = 32


def shared_key(path: Path) -> bytes:
    """The key in a file that only its owner may read; made where there is none.

    Args:
        path: of the file.

    Raises:
        ValueError: when the file holds something else.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".partial-{secrets.token_hex(8)}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(handle)
            # A link is made once: of several processes that begin at a time, all read the first's.
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError(
            f"'{path.name}' is no key of {KEY_BYTES} bytes: remove it, and a new one is made"
        )
    return key
