"""Aliases in the database, with a trail of their changes.

The entries of the trail are numbered, and no two of an alias have one number: of two changes at a
time the second one is made anew, on what the first one left. Of each alias the last changes are
kept; where it can go back to is part of the alias itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from isslim.store.comparisons import COMPARISONS
from isslim.store.errors import BeingChanged, NotFound, NothingEarlier
from isslim.store.tables import ALIASES, METADATA, OWNERS
from isslim.types.schemas.aliases import Action, Alias, AliasChange, AliasState, Target

MAX_CHANGES, MAX_DELETED = 100, 1000
"""Changes of an alias that are kept; deleted aliases whose changes are."""
MAX_EARLIER, MAX_TRIES, _MAX_FORGOTTEN = 20, 20, 500
"""Targets to which an alias can go back; tries of a change; aliases that one deletion forgets."""
_CHANGES = sa.Table(
    "iss_alias_changes",
    METADATA,
    sa.Column("alias", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("at", sa.DateTime, nullable=False),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("remote", sa.String(200), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("state_before", sa.Text),
    sa.Column("state_after", sa.Text),
)


@dataclass(frozen=True)
class Author:
    """Who changes an alias, for the trail.

    Attributes:
        by: id of the request, job or rule.
        remote: address of the sender, if there is one.
        note: of the sender.
    """

    by: str
    remote: str = ""
    note: str = ""


Edit = Callable[[AliasState | None], AliasState | None]
"""The new state of an alias from its present one; None: there is none."""


class AliasStore:
    """Reads and changes aliases.

    Args:
        engine: of the database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def all(self) -> list[Alias]:
        """All aliases by name."""
        with self._engine.connect() as connection:
            rows = connection.execute(ALIASES.select().order_by(ALIASES.c.alias)).all()
        return [_alias(row) for row in rows]

    def get(self, alias: str) -> Alias:
        """One alias.

        Raises:
            NotFound: when there is none of that name.
        """
        known = {each.alias: each for each in self.all()}
        if alias not in known:
            raise NotFound("alias", alias, sorted(known))
        return known[alias]

    def naming(self, model_id: str) -> list[str]:
        """The aliases that need a model: as what they point at, as shadow or as canary."""
        return [each.alias for each in self.all() if model_id in each.models]

    def history(self, alias: str) -> list[AliasChange]:
        """The last changes of an alias that exists, newest first."""
        newest = _CHANGES.c.version.desc()
        query = _CHANGES.select().where(_CHANGES.c.alias == alias).order_by(newest)
        with self._engine.connect() as connection:
            rows = connection.execute(query.limit(MAX_CHANGES)).all()
        return [
            AliasChange(
                version=row.version,
                at=row.at.replace(tzinfo=UTC),
                action=row.action,
                by=row.author,
                remote=row.remote,
                note=row.note,
                before=_state(row.state_before),
                after=_state(row.state_after),
            )
            for row in rows
        ]

    def point(self, alias: str, state: AliasState, author: Author, action: Action = "set") -> Alias:
        """Makes an alias, or moves it.

        Args:
            alias: its name, which was checked.
            state: what it is to point at; what it pointed at before is remembered.
            author: who asks for it.
            action: for the trail.
        """

        def edit(now: AliasState | None) -> AliasState:
            earlier = () if now is None else now.earlier
            if now is not None and now.target != state.target:
                earlier = (*earlier, now.target)[-MAX_EARLIER:]
            return state.model_copy(update={"earlier": earlier})

        self._change(alias, edit, author, action)
        return self.get(alias)

    def roll_back(self, alias: str, author: Author, exists: Callable[[str], bool]) -> Alias:
        """Ends the canary where there is one; otherwise the alias points at what it did before.

        Args:
            alias: its name.
            author: who asks for it.
            exists: whether there still is a model of an id.

        Raises:
            NotFound: when there is no such alias.
            NothingEarlier: when it has not pointed at anything else that still exists.
        """
        self.get(alias)

        def edit(now: AliasState | None) -> AliasState | None:
            if now is None or now.canary is not None:
                return now and now.model_copy(update={"canary": None})
            earlier = list(now.earlier)
            while earlier:
                last = earlier.pop()
                if exists(last.model):
                    return AliasState(**dict(last), note=author.note, earlier=tuple(earlier))
            raise NothingEarlier(alias)

        self._change(alias, edit, author, "rolled back")
        return self.get(alias)

    def end_trial(self, seen: Alias, candidate: Target, author: Author, *, promote: bool) -> bool:
        """Promotes a candidate, or ends its trial.

        Args:
            seen: the alias when that was decided; one that was changed since stays as it is.
            candidate: its shadow or canary.
            author: the rule.
            promote: whether it becomes what the alias points at.

        Returns:
            Whether this call did it.
        """

        def edit(now: AliasState | None) -> AliasState | None:
            if now is None or now != seen.state:
                return now
            if promote:
                earlier = (*now.earlier, now.target)[-MAX_EARLIER:]
                return AliasState(**dict(candidate), note=author.note, earlier=earlier)
            kept = {
                role: each
                for role, each in (("shadow", now.shadow), ("canary", now.canary))
                if each is not None and each.target != candidate
            }
            return now.model_copy(update={"shadow": None, "canary": None} | kept)

        action: Action = "promoted" if promote else "rolled back"
        return self._change(seen.alias, edit, author, action)

    def end_trials_of(self, model_id: str, alias: str, author: Author) -> None:
        """Ends an alias's shadow and canary of a model that is to be deleted.

        What the alias itself points at is left: its owner decides where it goes from there.

        Args:
            model_id: of the model.
            alias: its name.
            author: who deletes the model.
        """

        def edit(now: AliasState | None) -> AliasState | None:
            if now is None:
                return None
            trials = (("shadow", now.shadow), ("canary", now.canary))
            ended = [role for role, each in trials if each is not None and each.model == model_id]
            return now.model_copy(update=dict.fromkeys(ended))

        self._change(alias, edit, author, "rolled back")

    def delete(self, alias: str, author: Author) -> None:
        """Removes an alias, so that it is nobody's; its trail stays, if not of too many of them.

        Args:
            alias: its name.
            author: who asks for it.

        Raises:
            NotFound: when there is no such alias.
        """
        self.get(alias)
        self._change(alias, lambda now: None, author, "deleted")

    def _change(self, alias: str, edit: Edit, author: Author, action: Action) -> bool:
        """Changes an alias; False when it stays as it is."""
        for _ in range(MAX_TRIES):
            try:
                return self._try(alias, edit, author, action)
            except IntegrityError:
                continue  # another change came first
        raise BeingChanged(alias)

    def _try(self, alias: str, edit: Edit, author: Author, action: Action) -> bool:
        with self._engine.begin() as connection:
            row = connection.execute(ALIASES.select().where(ALIASES.c.alias == alias)).one_or_none()
            now = None if row is None else _state(row.state)
            wanted = edit(now)
            if wanted == now:
                return False
            version = (_last_version(connection, alias) if row is None else row.version) + 1
            at, content = _now(), None if wanted is None else wanted.model_dump_json()
            connection.execute(
                _CHANGES.insert().values(
                    alias=alias,
                    version=version,
                    at=at,
                    action=action,
                    author=author.by,
                    remote=author.remote,
                    note=author.note,
                    state_before=None if now is None else now.model_dump_json(),
                    state_after=content,
                )
            )
            values = {"version": version, "state": content, "changed_at": at}
            if content is None:
                connection.execute(ALIASES.delete().where(ALIASES.c.alias == alias))
                # With it: who makes it anew at the same time is its owner from then on.
                owned = sa.and_(OWNERS.c.kind == "alias", OWNERS.c.id == alias)
                connection.execute(OWNERS.delete().where(owned))
                _forget_deleted(connection)
            elif row is None:
                connection.execute(ALIASES.insert().values(alias=alias, **values))
            else:
                connection.execute(ALIASES.update().where(ALIASES.c.alias == alias).values(values))
            for table in (_CHANGES, COMPARISONS):
                old = table.c.version <= version - MAX_CHANGES
                connection.execute(table.delete().where(table.c.alias == alias, old))
        return True


def _forget_deleted(connection: sa.Connection) -> None:
    """Removes the trails of all deleted aliases but the last ones."""
    names, last = _CHANGES.c.alias, sa.func.max(_CHANGES.c.at)
    deleted = sa.select(names).where(names.not_in(sa.select(ALIASES.c.alias))).group_by(names)
    too_many = deleted.order_by(last.desc(), names).offset(MAX_DELETED).limit(_MAX_FORGOTTEN)
    forgotten = connection.execute(too_many).scalars().all()
    for table in (_CHANGES, COMPARISONS) if forgotten else ():
        connection.execute(table.delete().where(table.c.alias.in_(forgotten)))


def _last_version(connection: sa.Connection, alias: str) -> int:
    """Of an alias that was deleted; 0 if there was none, or its trail is forgotten."""
    numbers = sa.select(sa.func.max(_CHANGES.c.version)).where(_CHANGES.c.alias == alias)
    return connection.execute(numbers).scalar() or 0


def _alias(row: sa.Row[tuple[object, ...]]) -> Alias:
    state = AliasState.model_validate_json(row.state)
    return Alias(
        **dict(state),
        alias=row.alias,
        version=row.version,
        changed_at=row.changed_at.replace(tzinfo=UTC),
    )


def _state(content: str | None) -> AliasState | None:
    return None if content is None else AliasState.model_validate_json(content)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
