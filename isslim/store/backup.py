"""Backups of the embedded default: an SQLite file and a folder of files, while both are in use.

A backup is a folder, or a tar file of one, that looks like a home: the database as SQLite's own
backup copies it, the files of bundles and uploads, and the keys that texts' states and the like are
signed with. Postgres and remote storage have backups of their own (`docs/deploy.md`).
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from isslim.store.errors import CorruptBundle, NotFound, OutOfSpace, StoreError
from isslim.store.files import FULL_DISK, noticing_full_disk, sha256_of
from isslim.store.integrity import MANIFEST, verify
from isslim.store.settings import StoreSettings

HEAD, DATABASE = "backup.json", "jobs.sqlite"
FORMAT = 1
_FOLDERS = ("locks", "work", "cache", "arriving", "artifacts")
"""Folders of a home that a backup leaves out, or copies file by file."""


class BackupRefused(StoreError):
    """A backup cannot be made or restored here."""


@dataclass(frozen=True)
class Backup:
    """What a backup holds.

    Attributes:
        format: of backups.
        created_at: when it was made, in UTC.
        bundles: how many models.
        uploads: how many uploaded files.
        left_out: bundles and uploads that were damaged, or deleted meanwhile.
    """

    format: int
    created_at: str
    bundles: int
    uploads: int
    left_out: list[str]


def back_up(settings: StoreSettings, target: Path) -> Backup:
    """Copies a home; services and workers may go on meanwhile.

    Args:
        settings: with the home.
        target: a tar file (`.tar`), or a folder; it appears whole or not at all.

    Raises:
        BackupRefused: when the home is not the embedded default, or the target exists or lies in
            the home.
        OutOfSpace: when the disk is full; nothing was kept.
    """
    _refuse_other_stores(settings)
    if target.exists():
        raise BackupRefused(f"{target} exists: name a new file or folder")
    if not (settings.home / DATABASE).exists():
        raise BackupRefused(f"there is no {DATABASE} in {settings.home}: nothing to back up")
    if target.resolve().is_relative_to(settings.home.resolve()):
        raise BackupRefused(
            f"{target} is in {settings.home}, which would be lost together with its backup: name a "
            "file or folder outside it"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        noticing_full_disk(target.name),
        tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as folder,
    ):
        made = Path(folder) / "home"
        found = _copy_home(settings.home, made)
        (made / HEAD).write_text(json.dumps(asdict(found), indent=2))
        if target.suffix == ".tar":
            packed = Path(folder) / "packed.tar"
            # Files in a home may be readable for its owner alone, such as the key of states.
            packed.touch(0o600)
            with tarfile.open(packed, "w") as tar:
                tar.add(made, arcname=".")
            packed.rename(target)
        else:
            made.rename(target)
    return found


def restore(settings: StoreSettings, source: Path) -> Backup:
    """Makes a home of a backup.

    Args:
        settings: with the home, which must hold no jobs and no models.
        source: of `back_up`.

    Raises:
        BackupRefused: when the home is in use, or the source is no whole backup.
    """
    _refuse_other_stores(settings)
    home = settings.home.absolute()
    if (home / DATABASE).exists() or any((home / "artifacts").glob("bundles/*")):
        raise BackupRefused(f"{home} holds jobs or models: restore into an empty folder")
    home.mkdir(parents=True, exist_ok=True)
    with _unpacked(source, home) as folder:
        found = _checked(folder, source)
        shutil.rmtree(home / "artifacts", ignore_errors=True)
        # The database last: without it, this can be done again.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == DATABASE):
            if path.name != HEAD:
                path.rename(home / path.name)
    return found


def _refuse_other_stores(settings: StoreSettings) -> None:
    if not settings.database.startswith("sqlite") or settings.artifacts_url is not None:
        raise BackupRefused(
            "only the embedded default is backed up: for Postgres take pg_dump, for remote storage "
            "its own versions or copies (docs/deploy.md)"
        )


def _copy_home(home: Path, made: Path) -> Backup:
    # Uploads twice: those of jobs that end meanwhile are removed, those of new jobs come.
    _copy_uploads(home, made)
    with (
        closing(sqlite3.connect(home / DATABASE, timeout=60)) as source,
        closing(sqlite3.connect(made / DATABASE)) as target,
    ):
        try:
            source.backup(target)
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise OutOfSpace(f"'{DATABASE}'") from error
            raise BackupRefused(f"{home / DATABASE} cannot be copied: {error}") from error
        _check(target, home / DATABASE)
    _copy_uploads(home, made)
    left_out = sorted((*_copy_bundles(home, made), *_without_damaged_uploads(made)))
    for path in home.iterdir():
        if path.is_file() and not path.name.startswith((DATABASE, ".partial-")):
            _copied(path, made / path.name)
        elif path.is_dir() and path.name not in _FOLDERS:
            shutil.copytree(path, made / path.name, copy_function=_copied)
    return Backup(
        format=FORMAT,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        bundles=len(_bundles(made)),
        uploads=len(_uploads(made)),
        left_out=left_out,
    )


def _copied(source: str | Path, target: str | Path) -> str:
    """Copies a file; where the disk is full, its folder's copy ends too, and is no damaged one."""
    with noticing_full_disk(Path(target).name):
        return str(shutil.copy2(source, target))


def _copy_uploads(home: Path, made: Path) -> None:
    target = made / "artifacts" / "uploads"
    target.mkdir(parents=True, exist_ok=True)
    for path in _uploads(home):
        if not (target / path.name).exists():
            with suppress(FileNotFoundError):  # no longer needed, and removed
                _copied(path, target / path.name)


def _without_damaged_uploads(made: Path) -> Iterator[str]:
    """Removes what a restore would refuse; yields what had to be left out."""
    for path in _uploads(made):
        if not _is_whole(path):
            path.unlink()
            yield path.name


def _copy_bundles(home: Path, made: Path) -> Iterator[str]:
    """Copies bundles, and those that are about to be published; yields what had to be left out."""
    artifacts = home / "artifacts"
    for place in ("staged", "bundles"):
        for folder in (artifacts / place).glob("*"):
            target = made / "artifacts" / place / folder.name
            try:
                shutil.copytree(folder, target, copy_function=_copied)
                if place == "bundles" and (target / MANIFEST).exists():
                    verify(folder.name, target)
            except (CorruptBundle, NotFound, FileNotFoundError, shutil.Error):
                shutil.rmtree(target, ignore_errors=True)
                yield folder.name


@contextmanager
def _unpacked(source: Path, home: Path) -> Iterator[Path]:
    """A copy of a backup beside its home, so that it can be moved in."""
    with tempfile.TemporaryDirectory(dir=home, prefix=".partial-") as folder:
        made = Path(folder) / "home"
        try:
            if source.is_dir():
                shutil.copytree(source, made, copy_function=_copied)
            else:
                with tarfile.open(source) as tar:
                    tar.extractall(made, filter="data")
        except (OSError, tarfile.TarError) as error:
            if isinstance(error, OSError) and error.errno in FULL_DISK:
                raise OutOfSpace(f"'{home}'") from error
            raise BackupRefused(f"{source} cannot be read as a backup: {error}") from error
        yield made


def _checked(folder: Path, source: Path) -> Backup:
    """What a backup says of itself, once all of it is verified."""
    try:
        found = Backup(**json.loads((folder / HEAD).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise BackupRefused(f"{source} is no backup: there is no readable {HEAD}") from error
    if found.format != FORMAT:
        raise BackupRefused(f"{source} is a backup of format {found.format}; {FORMAT} is read here")
    if not (folder / DATABASE).is_file():  # SQLite would make a new one
        raise BackupRefused(f"{source} is not whole: {DATABASE} is missing")
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        _check(database, source)
    bundles, uploads = _bundles(folder), _uploads(folder)
    if (len(bundles), len(uploads)) != (found.bundles, found.uploads):
        raise BackupRefused(
            f"{source} is not whole: it holds {len(bundles)} models and {len(uploads)} uploads, "
            f"where it was made with {found.bundles} and {found.uploads}"
        )
    for bundle in bundles:
        try:
            verify(bundle.name, bundle)
        except CorruptBundle as damaged:
            raise BackupRefused(f"{source} is damaged: {damaged}") from damaged
    for upload in uploads:
        if not _is_whole(upload):
            raise BackupRefused(f"{source} is damaged: the upload {upload.name} was changed")
    return found


def _bundles(home: Path) -> list[Path]:
    """The folders of published bundles."""
    return [path.parent for path in (home / "artifacts" / "bundles").glob(f"*/{MANIFEST}")]


def _uploads(home: Path) -> list[Path]:
    return list((home / "artifacts" / "uploads").glob("[0-9a-f]*"))


def _is_whole(upload: Path) -> bool:
    """Whether an upload is what its name says."""
    return sha256_of(upload) == upload.name


def _check(database: sqlite3.Connection, path: Path) -> None:
    try:
        (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise BackupRefused(f"the database in {path} is damaged: {found}")
