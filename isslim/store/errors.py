"""Errors of the store.

StoreError
|-- NotFound            no such bundle, file, upload, job or alias
|   `-- ModelGone       an alias points at a model that was deleted
|-- TooLarge            an upload exceeded its limit
|-- EmptyUpload         an upload was empty
|-- UnsafePath          a name would leave its folder
|-- CorruptBundle       a file is missing, or its size or hash is not the manifest's
|-- InUse               a model is needed by an alias
|-- NothingEarlier      an alias has not pointed at anything else
|-- QuotaExceeded       a key would have more than it may
|   |-- JobsExceeded    of jobs, of which some end by themselves
|   `-- InspectionsExceeded  of inspections, which end within seconds
|-- OutOfSpace          the disk is full; partial files are removed
|-- Unavailable         the database does not answer now; it may in a moment
|   |-- DamagedDatabase  its file is damaged
|   `-- BeingChanged    others change an alias all the time
|-- StorageUnavailable  uploads and bundles cannot be read now
|-- BadAddress          there cannot be a storage at its address
|-- BadCursor           a page of a list does not begin there
|-- AnotherRelease      a record holds what this release does not know
"""

from __future__ import annotations


class StoreError(Exception):
    """Root of the store's errors."""


class NotFound(StoreError):
    """Something requested by name does not exist.

    Attributes:
        kind: what it is ("model", "job", "file", "upload", "variant").
        name: the requested name.
    """

    def __init__(self, kind: str, name: str, known: list[str] | None = None) -> None:
        self.kind, self.name, self.known = kind, name, known
        hint = f"; there is: {', '.join(known) or 'none'}" if known is not None else ""
        super().__init__(f"there is no {kind} '{name}'{hint}")


class ModelGone(NotFound):
    """An alias points at a model that its owner has deleted."""

    def __init__(self, alias: str, model_id: str) -> None:
        super().__init__("model", model_id)
        self.args = (
            f"the alias '{alias}' points at the model {model_id}, which was deleted: point the "
            "alias at another one, or roll it back",
        )


class TooLarge(StoreError):
    """An upload exceeded its limit; nothing of it was kept."""

    def __init__(self, name: str, limit_bytes: int) -> None:
        self.name, self.limit_bytes = name, limit_bytes
        super().__init__(
            f"'{name}' is larger than the limit of {limit_bytes:,} bytes: send less, or have "
            "ISS_UPLOAD_LIMIT_BYTES raised"
        )


class EmptyUpload(StoreError):
    """An upload was empty."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"'{name}' is empty; send the file's content")


class UnsafePath(StoreError):
    """A relative path would leave its folder, or is not a plain relative path."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"'{path}' is not a plain path inside its folder")


class CorruptBundle(StoreError):
    """A bundle on disk does not match its manifest, or is of another release.

    Attributes:
        bundle: its id.
        issues: everything found, one line each.
    """

    def __init__(self, bundle: str, issues: list[str]) -> None:
        self.bundle, self.issues = bundle, issues
        super().__init__(f"bundle '{bundle}' cannot be used: {'; '.join(issues)}")


class InUse(StoreError):
    """A model cannot be deleted: aliases need it.

    Args:
        model_id: of the model.
        aliases: that need it.
        remedy: what the sender can do about it.
    """

    def __init__(
        self,
        model_id: str,
        aliases: list[str],
        remedy: str = "point it at another model, or delete it, first",
    ) -> None:
        self.model_id, self.aliases = model_id, aliases
        named = ", ".join(f"'{each}'" for each in aliases)
        super().__init__(f"the model {model_id} is needed by the alias {named}: {remedy}")


class QuotaExceeded(StoreError):
    """A key would have more than it may; nothing was changed."""


class JobsExceeded(QuotaExceeded):
    """A key would have more jobs than it may; some will end by themselves."""


class InspectionsExceeded(QuotaExceeded):
    """A key would have more inspections than it may; they end by themselves."""


class NothingEarlier(StoreError):
    """An alias cannot go back: what it pointed at before is gone, or there was nothing."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        super().__init__(
            f"'{alias}' has not pointed at any other model that still exists; name one to promote"
        )


class Unavailable(StoreError):
    """The database does not answer now: locked, full, restarting, or out of connections.

    Attributes:
        reason: for the log of a process alone, since it may name the database's host and user.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__("the database does not answer now; the log says more")


class DamagedDatabase(Unavailable):
    """The database's file is damaged, and is not written to any more."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        StoreError.__init__(
            self,
            f"the database is damaged ({reason}): stop service and workers, move ISS_HOME away and "
            "restore a backup into a new one (isslim restore)",
        )


class BeingChanged(Unavailable):
    """An alias is changed by others each time that this change is tried."""

    def __init__(self, alias: str) -> None:
        said = f"the alias '{alias}' is made, moved or deleted by others all the time"
        super().__init__(said)
        self.args = (f"{said}: nothing was changed; send the request again",)


class StorageUnavailable(StoreError):
    """Artifact storage cannot be read now: its folder is gone, or it does not answer."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the storage of uploads and models cannot be read: {reason}")


class BadAddress(StoreError):
    """Remote storage cannot be at the address of the settings, whoever asks."""

    def __init__(self, shown: str, reason: str) -> None:
        super().__init__(f"ISS_ARTIFACTS_URL is '{shown}': {reason}; correct it")


class BadCursor(StoreError):
    """A cursor is not one that a list gave out."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        super().__init__(
            f"'{cursor[:60]}' is no cursor of this list: take the one of its answer, or none to "
            "begin anew"
        )


class AnotherRelease(StoreError):
    """A record holds what this release does not know.

    Attributes:
        issues: what that is, one line each.
    """

    def __init__(self, issues: list[str]) -> None:
        self.issues = issues
        super().__init__(f"the record is of another release: {'; '.join(issues)}")


class OutOfSpace(StoreError):
    """The disk is full; partial files have been removed."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"no space left on the disk while writing {what}; nothing of it was kept")
