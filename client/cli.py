"""The `isslim` command line: compress, sweep, score, ask, models, jobs, serve, worker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Unpack

import typer
from pydantic import ValidationError
from rich.markdown import Markdown
from rich.markup import escape

from client import show
from client.api import Client, Companions, ProblemError, Unreachable
from client.companions import with_companions
from store.jobs import JobState
from store.recipe import Budget, Recipe

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
models_app = typer.Typer(help="published models", invoke_without_command=True)
jobs_app = typer.Typer(help="compression jobs", invoke_without_command=True)
app.add_typer(models_app, name="models")
app.add_typer(jobs_app, name="jobs")
console = show.terminal()

Url = Annotated[str, typer.Option(envvar="ISS_URL", help="address of the service")]
HERE = "http://127.0.0.1:8000"


@app.command()
@with_companions
def compress(
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="safetensors, or a .pt of weights")],
    name: Annotated[str, typer.Option(help="name of the new model")] = "model",
    perplexity_rise: Annotated[float | None, typer.Option(help="largest rise, 0.05 is 5 %; the default budget")] = None,
    size_ratio: Annotated[float | None, typer.Option(help="parameters after / before")] = None,
    speedup: Annotated[float | None, typer.Option(help="how many times as fast, float32, one thread")] = None,
    finetune_minutes: Annotated[float, typer.Option(help="distil from the original for so long")] = 0.0,
    mode: Annotated[str, typer.Option(help="calibrate, or learn on the training text")] = "calibrate",
    learner: Annotated[str, typer.Option(help="of learn: calibrated, proximal, l0, group_lasso")] = "calibrated",
    learn_epochs: Annotated[float, typer.Option(help="of learn: passes over the training text, in all")] = 6.0,
    url: Url = HERE,
    **companions: Unpack[Companions],
) -> None:
    """Uploads a model, follows its compression, and shows the comparison."""
    limits = {"perplexity_rise": perplexity_rise, "size_ratio": size_ratio, "speedup": speedup}
    given = {key: value for key, value in limits.items() if value is not None} or {"perplexity_rise": 0.05}
    if len(given) > 1:
        raise typer.BadParameter(f"name one budget, not {len(given)}: {', '.join(given)}")
    try:
        asked = {"mode": mode, "learner": learner, "learn_epochs": learn_epochs, "finetune_minutes": finetune_minutes}
        recipe = Recipe.model_validate({"name": name, "budget": Budget.model_validate(given), **asked})
    except ValidationError as error:
        raise typer.BadParameter(str(error.errors()[0]["msg"])) from error
    with Client(url) as client:
        job = client.compress(model, recipe=recipe, **companions)
        console.print(f"job {job.id}")
        job = show.follow(client, job.id, console)
        show.outcome(job, console)
        if job.state is not JobState.SUCCEEDED:
            raise typer.Exit(1)
        console.print(show.comparison_table(client.manifest(str(job.model_id))))


@app.command()
@with_companions
def sweep(
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="safetensors, or a .pt of weights")],
    name: Annotated[str, typer.Option(help="name of the new models; each gets a number behind it")] = "model",
    perplexity_rise: Annotated[list[float] | None, typer.Option(help="repeat for several budgets")] = None,
    size_ratio: Annotated[list[float] | None, typer.Option(help="repeat for several budgets")] = None,
    speedup: Annotated[list[float] | None, typer.Option(help="repeat for several budgets")] = None,
    finetune_minutes: Annotated[float, typer.Option(help="distil from the original for so long, each")] = 0.0,
    url: Url = HERE,
    **companions: Unpack[Companions],
) -> None:
    """Compresses one model under several budgets and shows the models that no other beats."""
    given = {"perplexity_rise": perplexity_rise, "size_ratio": size_ratio, "speedup": speedup}
    variations = [{"budget": {kind: value}} for kind, values in given.items() for value in values or []]
    if not variations:
        raise typer.BadParameter("name at least one budget: --perplexity-rise, --size-ratio or --speedup")
    try:
        recipe = Recipe(name=name, finetune_minutes=finetune_minutes)
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
    variant: Annotated[
        list[str] | None, typer.Option(help="repeat to compare; none: original and most compressed")
    ] = None,
    url: Url = HERE,
) -> None:
    """Scores texts with the original and the compressed model side by side."""
    given = texts or [sys.stdin.read()]
    with Client(url) as client:
        console.print(show.score_table(client.score(model, given, variant), given))


@app.command()
def ask(
    model: Annotated[str, typer.Argument(help="id or name")],
    question: Annotated[str, typer.Argument(help="about the context")],
    context_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="text that holds the answer; none: standard input")
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="repeat to compare; none: original and most compressed")
    ] = None,
    top_k: Annotated[int, typer.Option(help="how many answers")] = 1,
    max_answer_tokens: Annotated[int | None, typer.Option(help="words and signs in one answer")] = None,
    url: Url = HERE,
) -> None:
    """Answers a question with the original and the compressed model side by side."""
    context = sys.stdin.read() if context_file is None else context_file.read_text(encoding="utf-8")
    with Client(url) as client:
        answer = client.answer(model, question, context, variant, top_k=top_k, max_answer_tokens=max_answer_tokens)
        console.print(show.answer_table(answer, question))


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
        console.print(Markdown(client.card(model)))


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


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 8000,
    home: Annotated[Path, typer.Option(help="folder of uploads, bundles and jobs")] = Path("data"),
) -> None:
    """Starts service and worker together; Ctrl-C ends both."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        _try_to_listen(host, port)
    except OSError as error:
        told = f"cannot listen on {address}: {error.strerror}; take another --host or --port"
        console.print(told, style="red", markup=False)
        raise typer.Exit(1) from error
    environment = os.environ | {"ISS_HOST": host, "ISS_PORT": str(port), "ISS_HOME": str(home)}
    # A SIGTERM (a supervisor, `docker stop`) must end both as Ctrl-C does; by default it would leave them behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    processes = [
        subprocess.Popen([sys.executable, "-m", module], env=environment) for module in ("service", "compress.worker")
    ]
    told = f"service on http://{address} (documentation at /docs), worker beside it; Ctrl-C ends both"
    console.print(told, markup=False)
    try:
        while all(process.poll() is None for process in processes):
            time.sleep(0.5)
    except KeyboardInterrupt:
        console.print("ending")
    finally:
        for process in processes:
            process.terminate()
        codes = [_ended(process) for process in processes]
    if any(code > 0 for code in codes):
        raise typer.Exit(max(codes))


def _try_to_listen(host: str, port: int) -> None:
    """Raises OSError when the address cannot be had; before two processes are started, and in words of the system."""
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The exit status; a process that will not end is killed."""
    try:
        return process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@app.command()
def worker(home: Annotated[Path, typer.Option(help="folder of uploads, bundles and jobs")] = Path("data")) -> None:
    """Starts one more worker."""
    # In the place of this process, so that a signal to it reaches the worker.
    os.execve(sys.executable, [sys.executable, "-m", "compress.worker"], os.environ | {"ISS_HOME": str(home)})


def main() -> None:
    """Runs the command line; problems are told in words, not as tracebacks."""
    try:
        app()
    except ProblemError as error:
        console.print(f"[red]{error.kind}:[/] {escape(error.detail)}")
        for issue in error.errors:
            console.print(f"  - {issue.get('pointer', '')} {issue.get('detail', '')}", highlight=False, markup=False)
        sys.exit(1)
    except Unreachable as error:
        console.print(str(error), style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
