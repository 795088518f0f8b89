"""The settings that service and worker share: locations, from `ISS_*` environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from isslim.types.kinds.plugins import check_plugins
from isslim.types.units import Bytes, OptionalUrl, Seconds, Unit

PREFIX = "ISS_"
"""Prefix of every variable."""
FROM_ENVIRONMENT = SettingsConfigDict(
    env_prefix=PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True
)
"""How classes of settings are read; values may be secrets, and are in no error of the library's."""
DATABASES = ("sqlite:", "postgresql:", "postgresql+psycopg:")
STORAGES = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss", "http", "https", "file")
"""Schemes of the URLs that obstore opens, but for `memory`, which no two processes share."""


def _is_a_folder_or_can_be(home: Path) -> Path:
    """Refuses a path that cannot become a folder, before a process fails at it in its middle."""
    try:
        existing = next(
            each for each in (home.absolute(), *home.absolute().parents) if each.exists()
        )
    except OSError as error:
        raise ValueError(
            f"expected a folder, or a path to make one at ({error.strerror})"
        ) from error
    if not existing.is_dir():
        raise ValueError(f"{existing} is a file: expected a folder, or a path to make one at")
    return home


def _is_a_known_database(url: str | None) -> str | None:
    """Refuses databases that the job queue does not run on."""
    if url is not None and not url.startswith(DATABASES):
        raise ValueError(f"expected a URL that begins with {' or '.join(DATABASES)}")
    if url is not None:
        _check_parts(url)
    return url


def _check_parts(url: str) -> None:
    """Refuses what would be read otherwise than it is meant, so that errors name the wrong part."""
    import sqlalchemy as sa  # many programs read settings, and open no database

    try:
        host = sa.make_url(url).host or ""
    except (ValueError, sa.exc.ArgumentError) as error:
        raise ValueError(
            "expected a URL such as postgresql+psycopg://user:password@host:5432/name"
        ) from error
    if "@" in host:
        raise ValueError("an @ in user or password has to be written as %40")


def _is_a_known_storage(url: str | None) -> str | None:
    """Refuses storage that obstore does not open."""
    if url is not None:
        scheme, separator, rest = url.partition("://")
        if not separator or scheme.lower() not in STORAGES or not rest:
            known = ", ".join(STORAGES)
            raise ValueError(f"expected a URL such as s3://bucket/prefix, of one of {known}")
    return url


class StoreSettings(BaseSettings):
    """Folders, database and limits of service and worker, which must be the same for both."""

    model_config = FROM_ENVIRONMENT

    home: Annotated[Path, AfterValidator(_is_a_folder_or_can_be), Unit("path")] = Field(
        default=Path("data"), description="folder of everything local; created when needed"
    )
    database_url: Annotated[OptionalUrl, AfterValidator(_is_a_known_database)] = Field(
        default=None,
        description="SQLAlchemy URL of the job database; none: an SQLite file in `ISS_HOME`. "
        "Postgres for many machines",
    )
    artifacts_url: Annotated[OptionalUrl, AfterValidator(_is_a_known_storage)] = Field(
        default=None,
        description="where uploads and bundles lie; none: a folder in `ISS_HOME`. "
        "`s3://bucket/prefix` and the like through obstore, which reads its credentials from the "
        "variables below",
    )
    storage_seconds: Seconds = Field(
        default=15.0,
        description="how long one request to remote storage may take, and for how long one that "
        "failed is tried again; then the service answers 503, and a job waits",
    )
    cache_bytes: Bytes = Field(
        default=20 << 30,
        description="size of the local copies of remote bundles, in `ISS_HOME/cache`, above which "
        "those that were not opened for longest are removed",
    )
    upload_limit_bytes: Bytes = Field(default=2 << 30, description="largest single upload")
    # SQLite counts milliseconds in 32 bits, and would not wait at all for longer.
    database_wait_seconds: Annotated[Seconds, Field(le=2_000_000)] = Field(
        default=30.0,
        description="how long a statement waits while another process has SQLite's lock",
    )

    kinds: Annotated[list[str], AfterValidator(check_plugins), Unit("JSON list")] = Field(
        default=[],
        description="packages that bring kinds of models beside the product's own, such as "
        '`["row_classifier"]`; they have to be importable (`docs/adding-a-kind.md`)',
    )

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
