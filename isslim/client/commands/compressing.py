"""`isslim inspect`, `compress` and `sweep`: the commands that upload a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

import typer
from rich.console import Group, RenderableType

from isslim.client import show, show_inspection
from isslim.client.api import Client
from isslim.client.commands import exits
from isslim.client.commands.answers import Answers
from isslim.client.commands.companions import with_companions
from isslim.client.commands.following import (
    follow,
    note_missing_worker,
    refuse_unless_succeeded,
)
from isslim.client.commands.options import HERE, AsJson, ModelFile, ModelSource, Url, again
from isslim.client.commands.recipe_options import with_recipe, with_several_budgets
from isslim.client.hub import fetched, repository_of
from isslim.types.jobs import Job
from isslim.types.kinds.uploads import Companions
from isslim.types.recipe import Budget, Recipe

Detach = Annotated[
    bool, typer.Option("--detach", help="do not wait; the answer is the job as it was queued")
]


@with_companions
@with_recipe
def inspect(
    models: Annotated[
        list[Path],
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="safetensors, .pt of weights, or .onnx graphs; one or several",
        ),
    ],
    recipe: Recipe,
    url: Url = HERE,
    as_json: AsJson = False,
    **companions: Unpack[Companions],
) -> None:
    """Shows how a model is read, before anything is compressed.

    It takes the files and options of `compress`. A model that is refused is an answer too, with
    exit code 1. With --json: one object, of several files a list.
    """
    answers = Answers(as_json)
    with Client(url) as client:
        found = [client.inspect(model, recipe=recipe, **companions) for model in models]

    def shown() -> RenderableType:
        pairs = zip(models, found, strict=True)
        return Group(*(show_inspection.shown(each, str(model)) for model, each in pairs))

    answers.give(found if len(found) > 1 else found[0], shown)
    if not all(each.understood for each in found):
        raise typer.Exit(exits.REFUSED)


@with_companions
@with_recipe
def compress(
    model: ModelSource,
    recipe: Recipe,
    detach: Detach = False,
    url: Url = HERE,
    as_json: AsJson = False,
    **companions: Unpack[Companions],
) -> None:
    """Compresses a model and compares it with the original.

    The model is uploaded, and its job is followed to the end. One of the Hugging Face Hub
    (hf://user/repo, needs `isslim[hub]`) is downloaded before, with the files beside it that are
    known by their names. With --json: the job.
    """
    answers = Answers(as_json)
    with Client(url) as client:
        job = _queued(client, model, recipe, companions)
        note_missing_worker(client)
        if detach:
            answers.give(job, lambda: f"job {job.id}; follow it: {_watch(job.id, url)}")
            return
        job = follow(client, job.id, answers)
        refuse_unless_succeeded(job, answers, url)
        if answers.as_json:
            answers.give(job, lambda: "")
            return
        if job.inspection is not None and not answers.shows_progress:
            show_inspection.print_inspection(job.inspection, answers.out)
        show.outcome(job, answers.out)
        answers.out.print(show.comparison_table(client.manifest(str(job.model_id))))
        meant = client.model(job.name).id
    if meant != job.model_id:
        promoted = again(f"promote {job.model_id} --as {job.name}", url)
        answers.out.print(f"the name '{job.name}' means {meant}; to promote this one: {promoted}")


def _queued(client: Client, model: Path | str, recipe: Recipe, companions: Companions) -> Job:
    """The job of a model that was uploaded.

    Args:
        client: of the service.
        model: a file, or the address of a repository of the Hub.
        recipe: of the job.
        companions: files that the user names; they come before those of the repository.
    """
    if isinstance(model, Path):
        return client.compress(model, recipe=recipe, **companions)
    repository = repository_of(model)
    if recipe.base_model is None:
        recipe = recipe.model_copy(update={"base_model": repository})
    with fetched(repository) as found:
        named = {name: path for name, path in companions.items() if path is not None}
        files = Companions(**{**found.companions, **named})  # type: ignore[typeddict-item]
        return client.compress(found.model, recipe=recipe, **files)


@with_companions
@with_several_budgets
def sweep(
    model: ModelFile,
    asked: tuple[Recipe, list[Budget]],
    detach: Detach = False,
    url: Url = HERE,
    as_json: AsJson = False,
    **companions: Unpack[Companions],
) -> None:
    """Compresses a model under several budgets; shows the best.

    The best are those that no other model of the sweep beats in both work and quality. With --json:
    the sweep.
    """
    answers = Answers(as_json)
    recipe, budgets = asked
    variations = [{"budget": each.model_dump(exclude_none=True)} for each in budgets]
    with Client(url) as client:
        begun = client.sweep(model, variations, recipe=recipe, **companions)
        note_missing_worker(client)
        if detach:
            answers.give(begun, lambda: f"sweep {begun.id}; its state: {_state(begun.id, url)}")
            return
        ended = [follow(client, job.id, answers, sweep_id=begun.id) for job in begun.jobs]
        whole = client.get_sweep(begun.id)
        if code := exits.of_jobs(ended):
            _say_each(ended, answers)
            raise typer.Exit(code)
        if not answers.as_json:
            _say_each(ended, answers)
        answers.give(whole, lambda: show.front_table(whole))


def _say_each(jobs: list[Job], answers: Answers) -> None:
    """How each job of a sweep ended: the models that were made, and why others were not."""
    for job in jobs:
        show.outcome(job, answers.out if exits.of_job(job) == exits.OK else answers.error)


def _watch(job_id: str, url: str) -> str:
    return again(f"jobs watch {job_id}", url)


def _state(sweep_id: str, url: str) -> str:
    return again(f"sweeps show {sweep_id}", url)
