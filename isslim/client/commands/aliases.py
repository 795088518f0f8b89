"""`isslim promote`, `rollback` and `aliases`: names that point at models."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from isslim.client import show_aliases
from isslim.client.api import Client
from isslim.client.commands.answers import Answers
from isslim.client.commands.options import HERE, AliasName, AsJson, ModelName, Note, Url, again
from isslim.client.commands.refusals import in_words
from isslim.types.manifest import VariantName
from isslim.types.schemas.aliases import AliasRequest, Rule

_RULE = re.compile(r"\s*change\s*<\s*([0-9.eE+-]+)\s+on\s+([0-9]+)\s*")


def _rule(text: str) -> Rule:
    """Reads `change < 0.02 on 500`."""
    found = _RULE.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"'{text}': expected a rule such as 'change < 0.02 on 500'")
    try:
        return Rule.model_validate_json(
            f'{{"change_below": {float(found[1])}, "requests": {int(found[2])}}}'
        )
    except ValidationError as error:
        raise typer.BadParameter(in_words(error, Rule)) from error
    except ValueError as error:
        raise typer.BadParameter(f"'{found[1]}' is no number") from error


def promote(
    model: ModelName,
    alias: Annotated[str, typer.Option("--as", help="name of the alias")],
    variant: Annotated[
        VariantName | None, typer.Option(help="that answers; none: a request chooses")
    ] = None,
    condition: Annotated[
        Rule | None,
        typer.Option(
            "--if",
            parser=_rule,
            metavar="RULE",
            help="promote it once it is shown that a rule holds: 'change < 0.02 on 500' means that "
            "log-probabilities change by less than 0.02 per token, or so many answers of a reader, "
            "on at least 500 requests; if it is shown to be broken, the trial ends",
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            help="try it on this share of the requests and promote nothing by itself; with --if "
            "the share of the trial [default: 0.05, of a shadow 0.1]"
        ),
    ] = None,
    shadow: Annotated[
        bool,
        typer.Option(
            "--shadow", help="in a trial: run it after the answer was sent; it answers nobody"
        ),
    ] = False,
    note: Note = "",
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Points an alias at a model, now or after a trial.

    A trial on live requests leaves the alias where it is, and replaces the one that is going on.
    With --json: the alias.
    """
    answers = Answers(as_json)
    is_trial = condition is not None or share is not None or shadow
    with Client(url) as client:
        asked: dict[str, Any] = {"model": model, "variant": variant}
        if is_trial:
            tried = {**asked, "rule": condition} | ({} if share is None else {"share": share})
            now = client.alias(alias)
            asked = {"model": now.model, "variant": now.variant}
            asked["shadow" if shadow else "canary"] = tried
        try:
            request = AliasRequest.model_validate({**asked, "note": note})
        except ValidationError as error:
            raise typer.BadParameter(in_words(error, AliasRequest)) from error
        found = client.put_alias(alias, request)

    def shown() -> str:
        if not is_trial:
            return show_aliases.pointing(found)
        looked = again(f"aliases shadow {alias}", url)
        return f"{show_aliases.pointing(found)}; what the trial shows: {looked}"

    answers.give(found, shown)


def rollback(alias: AliasName, note: Note = "", url: Url = HERE, as_json: AsJson = False) -> None:
    """Undoes an alias's last promotion, or ends its canary.

    A canary is ended first, where there is one. With --json: the alias.
    """
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.roll_back(alias, note)
    answers.give(found, lambda: show_aliases.pointing(found))


def list_aliases(url: Url = HERE, as_json: AsJson = False) -> None:
    """Lists the aliases."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.aliases()
    answers.give(found, lambda: show_aliases.table(found))


def show_alias(alias: AliasName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Shows an alias, its trials, and every change of it.

    With --json: the alias and its changes.
    """
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.alias(alias)
        trials = client.trials(alias)
    answers.give(found, lambda: show_aliases.detail(found, trials))


def shadow(alias: AliasName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Shows what was found of an alias's shadow or canary."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.trials(alias)
    answers.give(found, lambda: show_aliases.report(found))


def delete(alias: AliasName, note: Note = "", url: Url = HERE, as_json: AsJson = False) -> None:
    """Deletes an alias, and no model.

    With --json: its name.
    """
    answers = Answers(as_json)
    with Client(url) as client:
        client.delete_alias(alias, note)
    answers.give({"deleted": alias}, lambda: f"deleted: {alias}")
