"""The `isslim` command line: every command under its name.

What they print, and with which codes they end: `isslim/client/commands/answers.py` and `exits.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

import isslim
from isslim.client.commands import (
    aliases,
    asking,
    backup,
    compressing,
    demo,
    doctor,
    jobs,
    keys,
    models,
    pulling,
    serving,
    sharing,
    sweeps,
)
from isslim.client.commands.exits import EPILOG
from isslim.client.commands.program import HELP_OPTIONS, Program, command, group_of, run
from isslim.client.transport import KEY, authorization

app = typer.Typer(
    cls=Program,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=HELP_OPTIONS,
    epilog=EPILOG,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"isslim {isslim.__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="print the version"),
    ] = False,
    key_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="file that holds the service's key alone"),
    ] = None,
) -> None:
    """Makes trained recurrent networks small, proves it, serves both.

    Answers go to stdout, progress and errors to stderr. With --json, or ISSLIM_OUTPUT=json, an
    answer is the API's JSON and nothing else. ISS_URL names the service, ISS_API_KEY holds a key
    where it asks for one: an option with the key itself would show it to all users of the machine.
    """
    if key_file is not None:
        key = key_file.read_text(encoding="utf-8", errors="replace").strip()
        if not authorization(key, f"--key-file {key_file}"):
            raise typer.BadParameter(f"{key_file} is empty", param_hint="--key-file")
        os.environ[KEY] = key


command(app, "inspect")(compressing.inspect)
command(app, "compress")(compressing.compress)
command(app, "sweep")(compressing.sweep)
command(app, "score")(asking.score)
command(app, "generate")(asking.generate)
command(app, "ask")(asking.ask)
command(app, "run")(asking.run)

command(app, "pull")(pulling.pull)
command(app, "push")(sharing.push)
command(app, "log")(sharing.log)

_models = group_of("Published models; without a command: list.")
command(_models, "list")(models.list_models)
command(_models, "show")(models.show_model)
command(_models, "card")(models.card)
command(_models, "files")(models.files)
command(_models, "report")(models.report)
command(_models, "latency")(models.latency)
command(_models, "delete")(models.delete)
app.add_typer(_models, name="models")

command(app, "promote")(aliases.promote)
command(app, "rollback")(aliases.rollback)
_aliases = group_of("Names that point at models; without a command: list.")
command(_aliases, "list")(aliases.list_aliases)
command(_aliases, "show")(aliases.show_alias)
command(_aliases, "shadow")(aliases.shadow)
command(_aliases, "delete")(aliases.delete)
app.add_typer(_aliases, name="aliases")

_jobs = group_of("Compressions; without a command: list.")
command(_jobs, "list")(jobs.list_jobs)
command(_jobs, "show")(jobs.show_job)
command(_jobs, "watch")(jobs.watch)
command(_jobs, "logs")(jobs.logs)
command(_jobs, "cancel")(jobs.cancel)
app.add_typer(_jobs, name="jobs")

_sweeps = group_of("One model under several budgets; without a command: list.")
command(_sweeps, "list")(sweeps.list_sweeps)
command(_sweeps, "show")(sweeps.show_sweep)
command(_sweeps, "cancel")(sweeps.cancel)
app.add_typer(_sweeps, name="sweeps")

_keys = group_of("Keys of a service.", lists=False)
command(_keys, "new")(keys.new)
app.add_typer(_keys, name="keys")

command(app, "doctor")(doctor.doctor)
command(app, "backup")(backup.backup)
command(app, "restore")(backup.restore)
command(app, "demo")(demo.demo)
command(app, "serve")(serving.serve)
command(app, "worker")(serving.worker)


def main() -> None:
    """Runs the command line."""
    run(app)


if __name__ == "__main__":
    main()
