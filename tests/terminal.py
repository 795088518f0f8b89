"""A terminal that a process may write to, and what it shows."""

from __future__ import annotations

import os
import pty


class Terminal:
    """A terminal.

    Attributes:
        writing: descriptor for a process to write to.
    """

    def __enter__(self) -> Terminal:
        self._reading, self.writing = pty.openpty()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reading)

    def shown(self) -> str:
        """All that was written, once no process has it open any more."""
        os.close(self.writing)
        content = b""
        try:
            while part := os.read(self._reading, 4096):
                content += part
        except OSError:  # Linux has no end of file there
            pass
        return content.decode().replace("\r\n", "\n")
