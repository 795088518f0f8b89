"""The `isslim` command line.

Commands: inspect, compress, sweep, score, ask, run, models, jobs, serve, worker.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Unpack

import typer
from pydantic import ValidationError
from rich.markdown import Markdown
from rich.markup import escape

from isslim.card.head import without_head
from isslim.client import inspecting, serving, show
from isslim.client.api import Client
from isslim.client.companions import with_companions
from isslim.client.forms import ProblemError, Unreachable
from isslim.settings.client import ClientSettings
from isslim.types.arrays import BadArrays, dump_npz, read_npz
from isslim.types.jobs import JobState
from isslim.types.kinds.uploads import Companions
from isslim.types.recipe import Budget, Recipe

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
models_app = typer.Typer(help="published models", invoke_without_command=True)
jobs_app = typer.Typer(help="compression jobs", invoke_without_command=True)
app.add_typer(models_app, name="models")
app.add_typer(jobs_app, name="jobs")
console = show.terminal()

Url = Annotated[str, typer.Option(envvar="ISS_URL", help="address of the service")]
HERE = ClientSettings().url
ModelFile = Annotated[
    Path,
    typer.Argument(
        exists=True, dir_okay=False, help="safetensors, a .pt of weights, or an .onnx graph"
    ),
]
GraphMetric = Annotated[
    str,
    typer.Option(
        help="of a graph: output_change, argmax (decisions that differ), mean_squared_error, "
        "cosine, or command:NAME, an evaluation that the worker's operator configured"
    ),
]
GraphOutputs = Annotated[
    list[str] | None,
    typer.Option(help="of a graph: evaluate this output; repeat; none: all but carried states"),
]
VariantNames = Annotated[
    list[str] | None,
    typer.Option(help="repeat to compare; none: original and most compressed, on a GPU in float32"),
]
Device = Annotated[
    str, typer.Option(help="where the service runs it: cpu, or cuda where it has one")
]
PERPLEXITY_RISE = "of a language model: largest rise, 0.05 is 5 %, which is the default"
F1_FALL = "of a question-answering model: largest fall in points of 100; 1 by default"
OUTPUT_CHANGE = "of a graph: largest loss in --metric, 0.02 by default"
SIZE_RATIO = "parameters after / before"
SPEEDUP = "how many times as fast, float32, one thread"
REPEAT = "repeat for several budgets"
CONFIDENT = (
    "must the upper end of a loss's 95 % interval keep to the budget? by default where fewer than "
    "1,000 decisions are evaluated"
)
CALIBRATION_TOKENS = (
    "of a language model: tokens on which activations are collected, in pieces spread over the "
    "calibration text; 20,000 by default"
)
HELD_OUT_TOKENS = (
    "of a language model: tokens on which the search evaluates, in pieces spread over the held-out "
    "text; 10,000 by default"
)
PUBLISHED_TOKENS = (
    "of a language model: tokens of the held-out text for the published figures; all by default"
)


@app.command()
@with_companions
def compress(
    model: ModelFile,
    name: Annotated[str, typer.Option(help="name of the new model")] = "model",
    perplexity_rise: Annotated[float | None, typer.Option(help=PERPLEXITY_RISE)] = None,
    f1_fall: Annotated[float | None, typer.Option(help=F1_FALL)] = None,
    output_change: Annotated[float | None, typer.Option(help=OUTPUT_CHANGE)] = None,
    size_ratio: Annotated[float | None, typer.Option(help=SIZE_RATIO)] = None,
    speedup: Annotated[float | None, typer.Option(help=SPEEDUP)] = None,
    confident: Annotated[bool | None, typer.Option(help=CONFIDENT)] = None,
    metric: GraphMetric = "output_change",
    output: GraphOutputs = None,
    finetune_minutes: Annotated[
        float, typer.Option(help="distil from the original for so long")
    ] = 0.0,
    mode: Annotated[
        str, typer.Option(help="calibrate, or learn on the training text")
    ] = "calibrate",
    learner: Annotated[
        str, typer.Option(help="of learn: calibrated, proximal, l0, group_lasso")
    ] = "calibrated",
    start: Annotated[
        str, typer.Option(help="of a learner that trains: uploaded, or scratch")
    ] = "uploaded",
    learn_epochs: Annotated[
        float, typer.Option(help="of learn: passes over the training text, in all")
    ] = 6.0,
    check_perplexity: inspecting.CheckPerplexity = None,
    calibration_tokens: Annotated[int | None, typer.Option(help=CALIBRATION_TOKENS)] = None,
    held_out_tokens: Annotated[int | None, typer.Option(help=HELD_OUT_TOKENS)] = None,
    published_tokens: Annotated[int | None, typer.Option(help=PUBLISHED_TOKENS)] = None,
    url: Url = HERE,
    **companions: Unpack[Companions],
) -> None:
    """Uploads a model, follows its compression, and shows the comparison."""
    limits = {
        "perplexity_rise": perplexity_rise,
        "f1_fall": f1_fall,
        "output_change": output_change,
        "size_ratio": size_ratio,
        "speedup": speedup,
    }
    given = {key: value for key, value in limits.items() if value is not None}
    if len(given) > 1:
        raise typer.BadParameter(f"name one budget, not {len(given)}: {', '.join(given)}")
    try:
        asked = {
            "mode": mode,
            "learner": learner,
            "start": start,
            "learn_epochs": learn_epochs,
            "finetune_minutes": finetune_minutes,
            "metric": metric,
            "outputs": output or [],
            "check": inspecting.measured(check_perplexity),
        }
        tokens = {
            "calibration_tokens": calibration_tokens,
            "held_out_tokens": held_out_tokens,
            "published_tokens": published_tokens,
        }
        asked |= {key: value for key, value in tokens.items() if value is not None}
        budget = Budget.model_validate({**given, "confident": confident})
        recipe = Recipe.model_validate({"name": name, "budget": budget, **asked})
    except ValidationError as error:
        raise typer.BadParameter(str(error.errors()[0]["msg"])) from error
    with Client(url) as client:
        job = client.compress(model, recipe=recipe, **companions)
        console.print(f"job {job.id}")
        job = show.follow(client, job.id, console, inspecting.print_inspection)
        show.outcome(job, console)
        if job.state is not JobState.SUCCEEDED:
            raise typer.Exit(1)
        console.print(show.comparison_table(client.manifest(str(job.model_id))))


@app.command()
@with_companions
def sweep(
    model: ModelFile,
    name: Annotated[
        str, typer.Option(help="name of the new models; each gets a number behind it")
    ] = "model",
    perplexity_rise: Annotated[
        list[float] | None, typer.Option(help=f"{PERPLEXITY_RISE}; {REPEAT}")
    ] = None,
    f1_fall: Annotated[list[float] | None, typer.Option(help=f"{F1_FALL}; {REPEAT}")] = None,
    output_change: Annotated[
        list[float] | None, typer.Option(help=f"{OUTPUT_CHANGE}; {REPEAT}")
    ] = None,
    size_ratio: Annotated[list[float] | None, typer.Option(help=f"{SIZE_RATIO}; {REPEAT}")] = None,
    speedup: Annotated[list[float] | None, typer.Option(help=f"{SPEEDUP}; {REPEAT}")] = None,
    metric: GraphMetric = "output_change",
    output: GraphOutputs = None,
    finetune_minutes: Annotated[
        float, typer.Option(help="distil from the original for so long, each")
    ] = 0.0,
    url: Url = HERE,
    **companions: Unpack[Companions],
) -> None:
    """Compresses one model under several budgets and shows the models that no other beats."""
    given = {
        "perplexity_rise": perplexity_rise,
        "f1_fall": f1_fall,
        "output_change": output_change,
        "size_ratio": size_ratio,
        "speedup": speedup,
    }
    variations = [
        {"budget": {kind: value}} for kind, values in given.items() for value in values or []
    ]
    if not variations:
        options = ", ".join(f"--{kind.replace('_', '-')}" for kind in given)
        raise typer.BadParameter(f"name at least one budget: {options}")
    try:
        recipe = Recipe.model_validate(
            {
                "name": name,
                "finetune_minutes": finetune_minutes,
                "metric": metric,
                "outputs": output or [],
            }
        )
    except ValidationError as error:
        raise typer.BadParameter(str(error.errors()[0]["msg"])) from error
    with Client(url) as client:
        begun = client.sweep(model, variations, recipe=recipe, **companions)
        console.print(f"sweep {begun.id}: {len(begun.jobs)} jobs")
        ended = [show.follow(client, job.id, console) for job in begun.jobs]
        for job in ended:
            show.outcome(job, console)
        console.print(show.front_table(client.get_sweep(begun.id)))
        if not any(job.state is JobState.SUCCEEDED for job in ended):
            raise typer.Exit(1)


@app.command()
def score(
    model: Annotated[str, typer.Argument(help="id or name")],
    texts: Annotated[list[str] | None, typer.Argument(help="texts; none: standard input")] = None,
    variant: VariantNames = None,
    device: Device = "cpu",
    url: Url = HERE,
) -> None:
    """Scores texts with the original and the compressed model side by side."""
    given = texts or [sys.stdin.read()]
    with Client(url) as client:
        console.print(show.score_table(client.score(model, given, variant, device=device), given))


@app.command()
def ask(
    model: Annotated[str, typer.Argument(help="id or name")],
    question: Annotated[str, typer.Argument(help="about the context")],
    context_file: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="text that holds the answer; none: standard input"
        ),
    ] = None,
    variant: VariantNames = None,
    device: Device = "cpu",
    top_k: Annotated[int, typer.Option(help="how many answers")] = 1,
    max_answer_tokens: Annotated[
        int | None, typer.Option(help="words and signs in one answer")
    ] = None,
    url: Url = HERE,
) -> None:
    """Answers a question with the original and the compressed model side by side."""
    context = sys.stdin.read() if context_file is None else context_file.read_text(encoding="utf-8")
    with Client(url) as client:
        answer = client.answer(
            model,
            question,
            context,
            variant,
            top_k=top_k,
            max_answer_tokens=max_answer_tokens,
            device=device,
        )
        console.print(show.answer_table(answer, question))


@app.command()
def run(
    model: Annotated[str, typer.Argument(help="id or name")],
    inputs: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="npz with an array for each input"),
    ],
    variant: VariantNames = None,
    device: Device = "cpu",
    output: Annotated[
        list[str] | None, typer.Option(help="of the graph's outputs; repeat; none: all")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="npz to write, arrays `<variant>/<output>`"),
    ] = None,
    url: Url = HERE,
) -> None:
    """Runs a graph with the original and the compressed model side by side."""
    try:
        arrays = read_npz(inputs.read_bytes())
    except BadArrays as error:
        raise typer.BadParameter(f"{inputs}: {error}") from error
    with Client(url) as client:
        found = client.run(model, arrays, variant or [], outputs=output or [], device=device)
    if out is not None:
        out.write_bytes(
            dump_npz(
                {
                    f"{each}/{name}": array
                    for each, ran in found.items()
                    for name, array in ran.outputs.items()
                }
            )
        )
    console.print(show.runs_table(model, found))


@models_app.callback()
def models(context: typer.Context, url: Url = HERE) -> None:
    """Lists the models."""
    context.obj = url
    if context.invoked_subcommand is None:
        with Client(url) as client:
            console.print(show.models_table(client.models()))


@models_app.command("card")
def card(context: typer.Context, model: str) -> None:
    """Shows a model's card."""
    with Client(context.obj) as client:
        console.print(Markdown(without_head(client.card(model))))


@models_app.command("delete")
def delete(context: typer.Context, model: str) -> None:
    """Deletes a model."""
    with Client(context.obj) as client:
        client.delete(model)


@jobs_app.callback()
def jobs(context: typer.Context, url: Url = HERE) -> None:
    """Lists the jobs."""
    context.obj = url
    if context.invoked_subcommand is None:
        with Client(url) as client:
            console.print(show.jobs_table(client.jobs()))


@jobs_app.command("show")
def show_job(context: typer.Context, job: str) -> None:
    """Shows a job with the tail of its log."""
    with Client(context.obj) as client:
        found = client.job(job)
    console.print(show.jobs_table([found]))
    if found.inspection is not None:
        inspecting.print_inspection(found.inspection, console)
    for line in found.log:
        console.print(f"  {line}", highlight=False, markup=False)
    if found.state.ended:
        show.outcome(found, console)


@jobs_app.command("watch")
def watch(context: typer.Context, job: str) -> None:
    """Follows a job to its end."""
    with Client(context.obj) as client:
        show.outcome(show.follow(client, job, console), console)


@jobs_app.command("cancel")
def cancel(context: typer.Context, job: str) -> None:
    """Cancels a job."""
    with Client(context.obj) as client:
        console.print(f"the job is {client.cancel(job).state}")


app.command()(with_companions(inspecting.inspect))
app.command()(serving.serve)
app.command()(serving.worker)


def main() -> None:
    """Runs the command line; problems are shown in words, not as tracebacks."""
    try:
        app()
    except ProblemError as error:
        console.print(f"[red]{error.kind}:[/] {escape(error.detail)}")
        for issue in error.errors:
            console.print(
                f"  - {issue.get('pointer', '')} {issue.get('detail', '')}",
                highlight=False,
                markup=False,
            )
        sys.exit(1)
    except Unreachable as error:
        console.print(str(error), style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
