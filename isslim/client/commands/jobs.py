"""`isslim jobs`: compressions that are queued, run or have ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from isslim.client import show, show_inspection
from isslim.client.api import Client
from isslim.client.commands.answers import Answers
from isslim.client.commands.following import follow, going_on, refuse_unless_succeeded
from isslim.client.commands.options import HERE, AsJson, JobName, Url
from isslim.client.plain import visible
from isslim.types.jobs import Job

Limit = Annotated[int, typer.Option(min=1, help="most jobs that are listed")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="go on until the job has ended")]


def list_jobs(limit: Limit = 100, url: Url = HERE, as_json: AsJson = False) -> None:
    """Lists the jobs, newest first."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.jobs(limit)
    answers.give(found, lambda: show.jobs_table(found))


def show_job(job: JobName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Shows a job: state, what was understood, the last lines."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.job(job)
    answers.give(found, lambda: Group(*_parts(found)))


def watch(job: JobName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Follows a job to its end; the exit code says how it ended."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = follow(client, job, answers)
    refuse_unless_succeeded(found, answers, url)
    answers.give(found, lambda: show.ending(found))


def logs(job: JobName, follow: Follow = False, url: Url = HERE, as_json: AsJson = False) -> None:
    """Prints the last lines of a job's log.

    With --follow every new line, until the job has ended. With --json a list of lines.
    """
    answers = Answers(as_json)
    lines: list[str] = []

    def say(found: Job) -> None:
        new = unseen(lines, found.log)
        lines.extend(new)
        if not answers.as_json:
            for line in new:
                typer.echo(visible(line))

    with Client(url) as client, going_on(client, job):
        if follow:
            client.wait(job, say)
        else:
            say(client.job(job))
    if answers.as_json:
        answers.give(lines, lambda: "")


def cancel(job: JobName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Cancels a job; one that has ended stays as it is."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.cancel(job)
    answers.give(found, lambda: f"the job {found.id} is {found.state}")


def unseen(seen: list[str], tail: list[str]) -> list[str]:
    """The lines of a log's tail that are new.

    A job holds only the last lines of its log, so that the first of them may have been dropped
    since.

    Args:
        seen: lines in the order in which they came.
        tail: the last lines now.
    """
    most = min(len(seen), len(tail))
    overlap = next(
        (count for count in range(most, 0, -1) if seen[-count:] == tail[:count]),
        0,
    )
    return tail[overlap:]


def _parts(job: Job) -> Iterator[RenderableType]:
    yield show.jobs_table([job])
    if job.inspection is not None:
        yield show_inspection.shown(
            job.inspection.model_copy(update={"problem": None}), "the upload"
        )
    yield from (Text(visible(f"  {line}")) for line in job.log)
    if job.state.ended:
        yield show.ending(job)
