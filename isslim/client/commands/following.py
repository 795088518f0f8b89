"""Jobs that a command waits for: progress on a terminal, and how they ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pydantic import ValidationError
from rich.console import Console

from isslim.client import show, show_inspection
from isslim.client.api import Client, ProblemError
from isslim.client.commands import exits
from isslim.client.commands.answers import Answers
from isslim.client.commands.options import again
from isslim.client.forms import Unreachable
from isslim.types.inspection import Inspection
from isslim.types.jobs import Job, JobState


def follow(client: Client, job_id: str, answers: Answers, *, sweep_id: str = "") -> Job:
    """Waits for a job; on a terminal its progress is shown, and first what it understood.

    Ctrl-C ends the waiting and not the job, which is said.

    Args:
        client: to ask.
        job_id: which job.
        answers: of the command.
        sweep_id: of the sweep that the job belongs to, whose uploads are all the same; empty: none.

    Raises:
        Exit: when the user presses Ctrl-C.
    """

    def inspected(found: Inspection, console: Console) -> None:
        if not sweep_id:
            show_inspection.print_inspection(found, console)

    with going_on(client, job_id, sweep_id):
        if not answers.shows_progress:
            return client.wait(job_id)
        answers.error.print(f"job {job_id}")
        return show.follow(client, job_id, answers.error, inspected)


def note_missing_worker(client: Client) -> None:
    """Says that nothing takes a job that was queued, where that is so; the job stays.

    Args:
        client: of its service.
    """
    try:
        workers = client.health().workers
    except (ProblemError, ValidationError):  # which says nothing about workers
        return
    if workers == 0:
        typer.echo(
            "no worker lives: the job waits until one does (`isslim worker` starts one on the "
            "service's machine; `isslim doctor` says more)",
            err=True,
        )


@contextmanager
def going_on(client: Client, job_id: str, sweep_id: str = "") -> Iterator[None]:
    """Says that the job, or its whole sweep, continues, and how to follow or end it.

    It is said on Ctrl-C, and when the service no longer answers.

    Args:
        client: of its service.
        job_id: which job.
        sweep_id: of the sweep that it belongs to; empty: none.

    Raises:
        Exit: on Ctrl-C.
        Unreachable: when the service no longer answers.
    """
    what, group, watch = (
        (f"sweep {sweep_id}", "sweeps", "show") if sweep_id else (f"job {job_id}", "jobs", "watch")
    )
    follow_it, end_it = (
        again(f"{group} {command} {sweep_id or job_id}", client.url)
        for command in (watch, "cancel")
    )
    try:
        yield
    except Unreachable as error:
        if not client.answered:  # nothing is known of the job
            raise
        raise Unreachable(
            f"{error}\nthe {what} continues without the service, as long as its worker runs\n"
            f"to follow it once the service answers again: {follow_it}"
        ) from error
    except KeyboardInterrupt as error:
        typer.echo(
            f"interrupted; the {what} continues\nto follow it: {follow_it}\nto end it: {end_it}",
            err=True,
        )
        raise typer.Exit(exits.INTERRUPTED) from error


def refuse_unless_succeeded(job: Job, answers: Answers, url: str) -> None:
    """Ends the command if a job ended without a model, and says why.

    Args:
        job: that has ended.
        answers: of the command.
        url: of the service.

    Raises:
        Exit: with the code that belongs to the job's state.
    """
    if job.state is JobState.SUCCEEDED:
        return
    show.outcome(job, answers.error)
    typer.echo(f"the whole job: {again(f'jobs show {job.id} --json', url)}", err=True)
    raise typer.Exit(exits.of_job(job))
