"""Checkpoints of jobs in remote storage, from which a worker on another machine goes on.

Workers of one machine share the jobs' folders, and need none of this. A job's are one file, so that
whoever fetches it has what lay in the folder at one moment.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from isslim.store.artifacts import Artifacts, FileStamp
from isslim.store.errors import NotFound, UnsafePath
from isslim.store.files import noticing_full_disk
from isslim.store.settings import StoreSettings
from isslim.types.names import CHECKPOINT_NOTE, CHECKPOINTS

_KEPT = (*CHECKPOINTS, "latency-curves.json", CHECKPOINT_NOTE)
"""What is put into storage; the note last, so that it never stands beside half of the others."""
_PREFIX, _SUFFIX, _PARTIAL = "checkpoints", ".tar", ".partial"


class Checkpoints:
    """Keeps what the folders of running jobs hold, by the folder's name.

    Attributes:
        is_needed: whether there is a remote storage; without it nothing is kept.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self._artifacts = Artifacts(settings)
        self.is_needed = self._artifacts.folder is None

    def put(self, folder: Path, known: Mapping[str, FileStamp]) -> dict[str, FileStamp]:
        """Puts a job's checkpoints into storage, in place of those before.

        Args:
            folder: of the job; its program may be writing there.
            known: what was put last; nothing is done where it is the same.

        Returns:
            Stamps of what is in storage, by name.

        Raises:
            StorageUnavailable: when the storage does not answer; what it holds stays.
            OutOfSpace: when the local disk is full.
        """
        if not (folder / CHECKPOINT_NOTE).exists():
            return dict(known)
        with noticing_full_disk(folder.name), _room(folder) as room:
            still = Path(room) / "still"
            found = _held(folder, still)
            if not found or found == known:
                return dict(known)
            packed = Path(room) / "packed"
            with tarfile.open(packed, "w") as archive:
                for name in found:
                    archive.add(still / name, name)
            self._artifacts.copy_in(_key(folder.name), packed)
        return found

    def fetch(self, folder: Path) -> bool:
        """Brings a job's checkpoints into its folder, unless there are some in it.

        Args:
            folder: of the job.

        Returns:
            Whether there were any in storage.

        Raises:
            StorageUnavailable: when the storage does not answer.
            OutOfSpace: when the local disk is full.
        """
        if not self.is_needed or (folder / CHECKPOINT_NOTE).exists():
            return False
        folder.mkdir(parents=True, exist_ok=True)
        with noticing_full_disk(folder.name), _room(folder) as room:
            packed, fetched = Path(room) / "packed", Path(room) / "fetched"
            try:
                self._artifacts.copy_out(_key(folder.name), packed)
            except NotFound:
                return False
            _unpack(packed, fetched)
            for name in _KEPT:
                if (folder / name).is_dir():  # of an attempt that did not get as far as the note
                    shutil.rmtree(folder / name)
                with suppress(FileNotFoundError):
                    (fetched / name).replace(folder / name)
        return True

    def remove(self, name: str) -> None:
        """Removes the checkpoints of a job, if there are any.

        Args:
            name: of its folder.
        """
        if self.is_needed:
            self._artifacts.delete([_key(name)])

    def names(self) -> set[str]:
        """The folders of all jobs that have checkpoints in storage."""
        if not self.is_needed:
            return set()
        found = self._artifacts.names(_PREFIX)
        return {each.removeprefix(f"{_PREFIX}/").removesuffix(_SUFFIX) for each in found}

    def keep_only(self, found: Collection[str], needed: Collection[str]) -> None:
        """Removes the checkpoints of jobs that have ended.

        Args:
            found: by `names`, before it was asked which are needed.
            needed: folders of the jobs that have not ended.
        """
        self._artifacts.delete([_key(name) for name in sorted(set(found) - set(needed))])


def _key(name: str) -> str:
    return f"{_PREFIX}/{name}{_SUFFIX}"


def _unpack(packed: Path, folder: Path) -> None:
    """Writes the files of an archive, none of them outside of a folder."""
    with tarfile.open(packed) as archive:
        for member in archive:
            target = (folder / member.name).resolve()
            if not target.is_relative_to(folder.resolve()) or not member.isfile():
                raise UnsafePath(member.name)
            content = archive.extractfile(member)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(content or io.BytesIO(), file)


def _room(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder on the same disk, which goes with the job's."""
    return tempfile.TemporaryDirectory(prefix="checkpoints-", dir=folder)


def _held(folder: Path, still: Path) -> dict[str, FileStamp]:
    """Links to the checkpoints of one moment, with their stamps.

    Files are replaced and never changed in place, so that what is linked stays as it is.

    Args:
        folder: of the job.
        still: takes the links.
    """
    found: dict[str, FileStamp] = {}
    for top in _KEPT:
        place = folder / top
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            name = path.relative_to(folder).as_posix()
            link = still / name
            if _PARTIAL in path.name or path.is_dir():
                continue
            link.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # it was removed since
                os.link(path, link)
                status = link.stat()
                found[name] = (status.st_mtime_ns, status.st_size)
    return found if CHECKPOINT_NOTE in found else {}
