"""`isslim score`, `generate`, `ask` and `run`: the commands that use a published model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from isslim.client import show, show_answers
from isslim.client.api import Client
from isslim.client.commands.answers import Answers
from isslim.client.commands.options import HERE, AsJson, Device, ModelName, Url, VariantNames
from isslim.types.arrays import BadArrays, dump_npz, read_npz
from isslim.types.schemas.generation import GenerateRequest


def score(
    model: ModelName,
    texts: Annotated[
        list[str] | None, typer.Argument(help="texts; none: --file, or standard input")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", exists=True, dir_okay=False, allow_dash=True, help="text in place of TEXTS"
        ),
    ] = None,
    lines: Annotated[
        bool,
        typer.Option(
            "--lines",
            help="every line that is not empty is a text of its own; the service takes at most "
            "256 at once, unless it is set otherwise",
        ),
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            dir_okay=False,
            help="file of where the text stands: it goes on from there, or begins where there is "
            "no such file, and the new state is written to it",
        ),
    ] = None,
    variant: VariantNames = None,
    device: Device = "cpu",
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Scores texts with the original and the compressed model."""
    answers = Answers(as_json)
    if texts and (file is not None or lines):
        raise typer.BadParameter("give texts, or a --file (and --lines), not both")
    given = texts or texts_of(file, lines=lines)
    with Client(url) as client:
        found = client.score(
            model,
            given,
            variant,
            device=device,
            state=state.read_text() if state is not None and state.exists() else None,
            return_state=state is not None,
        )
        if state is not None:
            write_whole(state, found.state or "")
        answers.give(found, lambda: show.score_table(found, given, client.manifest(found.model_id)))


def write_whole(path: Path, text: str) -> None:
    """Writes a file of which there is never a part.

    Args:
        path: of the file.
        text: that it is to hold.
    """
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)


def generate(
    model: ModelName,
    prompt: Annotated[
        str, typer.Argument(help="text to continue; none: a text from its beginning")
    ] = "",
    variant: VariantNames = None,
    max_tokens: Annotated[int, typer.Option(help="most tokens of one text")] = 64,
    temperature: Annotated[
        float, typer.Option(help="0: always the most likely token; below 1 likely ones likelier")
    ] = 1.0,
    top_p: Annotated[
        float, typer.Option(help="draw from the most likely tokens with this sum of probabilities")
    ] = 1.0,
    top_k: Annotated[int, typer.Option(help="draw from so many likely tokens; 0: all")] = 0,
    seed: Annotated[
        int | None, typer.Option(help="of the random numbers, the same for every variant")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="text or token before which a text ends; repeat")
    ] = None,
    device: Device = "cpu",
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Continues a text with the original and the compressed model."""
    answers = Answers(as_json)
    asked = {
        "model": model,
        "prompt": prompt,
        "variants": variant or [],
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "seed": seed,
        "stop": stop or [],
        "device": device,
    }
    try:
        request = GenerateRequest.model_validate(asked)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{str(first['loc'][0]).replace('_', '-')}"
        raise typer.BadParameter(first["msg"], param_hint=option) from error
    with Client(url) as client:
        found = client.generate(request)
    answers.give(found, lambda: show_answers.text_table(found, prompt))


def ask(
    model: ModelName,
    question: Annotated[str, typer.Argument(help="about the context")],
    context_file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            allow_dash=True,
            help="text that holds the answer; none: standard input",
        ),
    ] = None,
    variant: VariantNames = None,
    device: Device = "cpu",
    top_k: Annotated[int, typer.Option(help="how many answers")] = 1,
    max_answer_tokens: Annotated[
        int | None, typer.Option(help="words and signs in one answer")
    ] = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Answers a question with the original and the compressed model."""
    answers = Answers(as_json)
    context = _read(context_file)
    with Client(url) as client:
        found = client.answer(
            model,
            question,
            context,
            variant,
            top_k=top_k,
            max_answer_tokens=max_answer_tokens,
            device=device,
        )
    answers.give(found, lambda: show_answers.answer_table(found, question))


def run(
    model: ModelName,
    inputs: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="npz with an array for each input")
    ],
    variant: VariantNames = None,
    device: Device = "cpu",
    output: Annotated[
        list[str] | None, typer.Option(help="of the graph's outputs; repeat; none: all")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="npz to write, arrays `<variant>/<output>`")
    ] = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Runs a graph with the original and the compressed model.

    With --json: the outputs as lists; with --out too, the file that was written.
    """
    answers = Answers(as_json)
    try:
        arrays = read_npz(inputs.read_bytes())
    except BadArrays as error:
        raise typer.BadParameter(f"{inputs}: {error}") from error
    with Client(url) as client:
        if answers.as_json and out is None:
            plain = client.run_plain(
                model, arrays, variant or [], outputs=output or [], device=device
            )
            answers.give(plain, lambda: "")
            return
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
    written = {"written": None if out is None else str(out)}
    answers.give(written, lambda: show_answers.runs_table(model, found))


def texts_of(file: Path | None, *, lines: bool) -> list[str]:
    """The texts of a file, or of standard input.

    Args:
        file: None for standard input.
        lines: whether every line that is not empty is a text of its own.

    Raises:
        BadParameter: when there is no such line, or it is not UTF-8.
    """
    whole = _read(file)
    if not lines:
        return [whole]
    # `splitlines` would end a line at a form feed too, and at separators of Unicode.
    found = [line for line in whole.split("\n") if line.strip()]
    if not found:
        raise typer.BadParameter("there is no line that is not empty", param_hint="--lines")
    return found


def _read(file: Path | None) -> str:
    """The text of a file, or of standard input."""
    named = None if file is None or str(file) == "-" else file
    try:
        content = sys.stdin.buffer.read() if named is None else named.read_bytes()
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(
            f"{named or 'standard input'} is not UTF-8: {error.reason} at byte {error.start}"
        ) from error
