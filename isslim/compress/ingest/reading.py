"""How an upload was read: what it was recognised as, what was dropped and what was assumed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IngestReport:
    """How an upload was read.

    Attributes:
        recognised: what it is, such as `embedding / LSTM / linear layout: 2 LSTM layers of 24
            units, untied`.
        dropped: what the file holds and the model does not use, each by name and with the reason.
        assumed: what weights cannot show and was taken for granted.
    """

    recognised: str
    dropped: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()

    def adding(self, dropped: tuple[str, ...], assumed: tuple[str, ...]) -> IngestReport:
        """The same reading, with what was found out beside the model's own file.

        Args:
            dropped: what else is not used.
            assumed: what else was assumed.
        """
        return IngestReport(self.recognised, (*self.dropped, *dropped), (*self.assumed, *assumed))

    @property
    def line(self) -> str:
        """All of it in one line."""
        description = {"dropped": self.dropped, "assumed": self.assumed}
        return "; ".join(
            [
                self.recognised,
                *(f"{what}: {', '.join(each)}" for what, each in description.items() if each),
            ]
        )


MAX_NAMED = 60
"""Parameters that a refusal lists."""
