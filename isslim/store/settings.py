"""Where everything lies: one set of settings for the service and the worker, from `ISS_*` environment variables."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class StoreSettings(BaseSettings):
    """Folders, database and limits shared by the processes.

    Attributes:
        home: folder of everything local; created when needed.
        database_url: SQLAlchemy URL of the job database; None: an SQLite file in `home`. Postgres
            for many machines.
        artifacts_url: where uploads and bundles lie; None: a folder in `home`. `s3://bucket/prefix`
            and the like through obstore, which reads its credentials from the usual environment
            variables.
        upload_limit_bytes: largest single upload.
        database_wait_seconds: how long a statement waits while another process has SQLite's lock.
    """

    model_config = SettingsConfigDict(env_prefix="ISS_", extra="ignore", frozen=True)

    home: Path = Path("data")
    database_url: str | None = None
    artifacts_url: str | None = None
    upload_limit_bytes: int = 2 << 30
    database_wait_seconds: float = 30.0

    @property
    def database(self) -> str:
        """The database's URL, the default filled in."""
        return self.database_url or f"sqlite:///{(self.home / 'jobs.sqlite').absolute()}"

    @property
    def work(self) -> Path:
        """Jobs' own folders: inputs and checkpoints while they run."""
        return self.home / "work"

    @property
    def cache(self) -> Path:
        """Local copies of remote bundles."""
        return self.home / "cache"

    @property
    def locks(self) -> Path:
        """Lock files of the workers' executor ids."""
        return self.home / "locks"
