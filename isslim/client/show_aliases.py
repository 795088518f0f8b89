"""Aliases in a terminal: what they point at, what they try, and how they were moved."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from isslim.client.plain import visible
from isslim.types.schemas.aliases import Alias, AliasChange, AliasDetail, AliasState
from isslim.types.schemas.trials import TrialReport


def pointing(alias: Alias) -> str:
    """What an alias points at and tries, in one line."""
    return escape(f"{alias.alias} -> {_state(alias)}")


def table(aliases: Sequence[Alias]) -> Table:
    """One row per alias, with the whole ids of models in 80 columns."""
    found = Table(show_lines=True)
    found.add_column("alias", overflow="fold")
    found.add_column("points at", no_wrap=True)
    found.add_column("tries", overflow="fold")
    found.add_column("since", overflow="fold")
    for each in aliases:
        tried = "\n".join(_trials(each))
        since = f"{each.changed_at:%Y-%m-%d %H:%M}"
        found.add_row(escape(each.alias), str(each.target), tried, since)
    return found


def detail(alias: AliasDetail, trials: TrialReport) -> Group:
    """What an alias points at, what was found of its trials, and its history.

    Args:
        alias: with its changes.
        trials: of the same alias.
    """
    lines = [pointing(alias), *(escape(line) for line in trials.lines)]
    return Group(*lines, *(Text(visible(_change(each))) for each in alias.history))


def report(found: TrialReport) -> Group:
    """What trials have shown."""
    return Group(*(Text(visible(line)) for line in found.lines))


def _trials(state: AliasState) -> list[str]:
    pairs = (("shadow", state.shadow), ("canary", state.canary))
    return [f"{role} {each} ({each.share:g})" for role, each in pairs if each is not None]


def _state(state: AliasState) -> str:
    return ", ".join([str(state.target), *_trials(state)])


def _change(change: AliasChange) -> str:
    """A line such as `3  2026-11-24 12:00 UTC  set: ... (deploy-17 from 10.0.0.7; note)`."""
    after = "-" if change.after is None else _state(change.after)
    author = f"{change.by} from {change.remote}" if change.remote else change.by
    said = f"{author}; {change.note}" if change.note else author
    return f"{change.version}  {change.at:%Y-%m-%d %H:%M} UTC  {change.action}: {after} ({said})"
