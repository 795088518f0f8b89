"""What jobs and bundles are kept in: a file and a folder, or what a cluster shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isslim.store.settings import StoreSettings


@dataclass(frozen=True)
class Backend:
    """Where a database and a storage are; None: in the home.

    Attributes:
        database_url: of an empty database.
        artifacts_url: of an empty storage.
    """

    database_url: str | None = None
    artifacts_url: str | None = None

    def settings(self, home: Path) -> StoreSettings:
        """The settings of a home."""
        return StoreSettings(
            home=home, database_url=self.database_url, artifacts_url=self.artifacts_url
        )

    def variables(self, home: Path) -> dict[str, str]:
        """The same as the environment of a process."""
        found = {
            "ISS_HOME": str(home),
            "ISS_DATABASE_URL": self.database_url,
            "ISS_ARTIFACTS_URL": self.artifacts_url,
        }
        return {name: each for name, each in found.items() if each is not None}
